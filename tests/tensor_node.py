"""A node for tests, in either host: writes an IMAGE as the floats it is, where files would round it."""

from pathlib import Path

from comfy_api.v0_0_2 import ComfyExtension, io
from safetensors.torch import save_file


def _output() -> Path:
    try:
        import folder_paths
    except ImportError:
        from framewright.embedded.folders import current

        return current().output
    return Path(folder_paths.get_output_directory())


class Tensor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.Image.Input("images"), io.String.Input("name", default="images")]
        return io.Schema(
            node_id="TestTensor", category="test", inputs=inputs, outputs=[], is_output_node=True
        )

    @classmethod
    def execute(cls, images, name):
        save_file({"images": images.contiguous().cpu()}, _output() / f"{name}.safetensors")
        return io.NodeOutput()


class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Tensor]


async def comfy_entrypoint():
    return Extension()
