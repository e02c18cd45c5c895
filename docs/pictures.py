"""Make the pictures of a report that the README shows: `python docs/pictures.py`, with selenium and pillow."""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver

from firstlight.cli import main

SIZE = {"width": 1280, "height": 1230, "deviceScaleFactor": 1, "mobile": False}
MODEL = ["mlp", "--depth", "50", "--width", "256", "--activation", "tanh", "--sigma-w", "1.89"]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-background-networking",
)


def pictures(folder: Path) -> None:
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "audit.html"
        main(["audit", *MODEL, "--data", "digits", "--quiet", "--html", str(report)])
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
        for scheme in ("light", "dark"):
            wish = {"name": "prefers-color-scheme", "value": scheme}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [wish]})
            driver.get(report.as_uri())
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
            small = picture.quantize(96, dither=Image.Dither.NONE)
            small.save(folder / f"report-{scheme}.png", optimize=True)
    driver.quit()


if __name__ == "__main__":
    pictures(Path(__file__).parent / "_static")
