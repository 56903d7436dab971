"""Makes the pack importable as `framewright` without running its `__init__.py`, which is ComfyUI's door."""

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

package = types.ModuleType("framewright")
package.__path__ = [str(ROOT)]
sys.modules["framewright"] = package

pytest_plugins = [f"framewright.tests.{name}_fixture" for name in ("hosts", "page", "editor")]
