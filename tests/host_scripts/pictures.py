"""Load Image of the host, and of the built-in one, on the same files."""

from pathlib import Path
from tempfile import TemporaryDirectory

import prologue

prologue.setup()

import folder_paths  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from framewright.embedded import folders  # noqa: E402
from framewright.embedded.nodes_files import LoadImage  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

import nodes  # noqa: E402

picture = Image.new("RGB", (100, 76), (90, 90, 90))
ImageDraw.Draw(picture).ellipse((20, 10, 70, 60), fill=(230, 20, 30))
clear, turned, exif = picture.convert("RGBA"), picture.rotate(90), picture.getexif()
clear.putalpha(99)
exif[0x112] = 6  # lies on its side
deep = Image.fromarray((np.arange(7600).reshape(76, 100) * 8).astype(np.uint16))
moving = {"save_all": True, "append_images": [turned]}

with TemporaryDirectory() as place:
    folder = Path(place)
    for name, one, how in (
        ("a.png", picture, {}), ("a.jpg", picture, {}), ("a.webp", picture, {}), ("a.bmp", picture, {}),
        ("grey.png", picture.convert("L"), {}), ("palette.png", picture.convert("P"), {}),
        ("clear.png", clear, {}), ("clear.webp", clear, {}), ("deep.png", deep, {}),
        ("side.jpg", picture, {"exif": exif}), ("moving.gif", picture, moving),
        ("moving.png", picture, moving),
    ):  # fmt: skip
        one.save(folder / name, **how)
    picture.save(folder / "two.mpo", **moving)
    (folder / "two.mpo").rename(folder / "two.jpg")
    folder_paths.set_input_directory(str(folder))
    answer: dict = {}
    with folders.use(folders.Folders(input=folder, output=folder, temp=folder)):
        for path in folder.iterdir():
            theirs, ours = nodes.LoadImage().load_image(path.name), LoadImage.execute(path.name).args
            answer[path.name] = all(map(torch.equal, theirs, ours))
prologue.answer(answer)
