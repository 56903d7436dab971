// What the page's parts on nodes share: values across links, and work that goes on while a node is shown.

export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
export const link = (graph, id) => graph.getLink?.(id) ?? graph.links?.[id];

const isNumber = (widget) => typeof widget?.value === "number";

/** The number in a widget of a node, or in the one number widget of the node that is linked to it; else none. */
export function toldNumber(node, name) {
  const id = node.inputs?.find((input) => input.name === name)?.link;
  const from = id == null ? undefined : node.graph.getNodeById(link(node.graph, id)?.origin_id);
  const numbers = (id == null ? [widgetOf(node, name)] : (from?.widgets ?? [])).filter(isNumber);
  return numbers.length === 1 ? numbers[0].value : undefined;
}

/** That number, or where a link does not tell it the last one in the node's own widget. */
export function numberOf(node, name) {
  const own = widgetOf(node, name);
  return toldNumber(node, name) ?? (isNumber(own) ? own.value : undefined);
}

/** Whether a node is in a graph of the page, and not left over from one that is gone. */
function inPage({ graph }) {
  const root = graph?.rootGraph ?? graph;
  return !!graph && (graph === root || !root.subgraphs || root.subgraphs.get(graph.id) === graph);
}

/** Calls `act` every so many milliseconds for as long as the node is in the page's graph; `end` after it. */
export function whileShown(node, every, act, end = () => {}) {
  let timer;
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    end();
  };
  const start = () => {
    timer ??= setInterval(() => (inPage(node) ? act() : stop()), every);
  };
  const { onAdded, onRemoved } = node;
  node.onAdded = function () {
    start();
    return onAdded?.apply(this, arguments);
  };
  node.onRemoved = function () {
    stop();
    return onRemoved?.apply(this, arguments);
  };
  if (node.graph) start();
}
