"""The built-in host: runs the same nodes and workflows where there is no ComfyUI."""
