// What the page's parts on nodes share: values across links, and work that goes on while a node is shown.

export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
export const link = (graph, id) => graph.getLink?.(id) ?? graph.links?.[id];

/** The number in a widget of a node, or in the one number widget of the node that is linked to it. */
export function numberOf(node, name) {
  const isNumber = (widget) => typeof widget?.value === "number";
  const id = node.inputs?.find((input) => input.name === name)?.link;
  const from = id != null && node.graph.getNodeById(link(node.graph, id)?.origin_id);
  const linked = (from && from.widgets?.filter(isNumber)) || [];
  const widget = linked.length === 1 ? linked[0] : widgetOf(node, name);
  return isNumber(widget) ? widget.value : undefined;
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
