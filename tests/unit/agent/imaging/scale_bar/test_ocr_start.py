"""The OCR engine starts as fast as it can: each worker starts one before its first label."""

import subprocess
import sys

COUNTS = """
import yaml
import numpy as np
from omegaconf import OmegaConf

names, load, whole = [], yaml.load, OmegaConf.load

def note(file, **options):
    names.append(file.name)
    return load(file, **options)

yaml.load = note
from agent.imaging.scale_bar.labels.ocr import detect_texts

detect_texts(np.full((40, 80, 3), 255, np.uint8))
print(sum(name.endswith("default_models.yaml") for name in names), OmegaConf.load is whole)
"""


def test_its_list_of_models_is_parsed_once_and_what_parses_it_is_left_as_it_was():
    done = subprocess.run(
        [sys.executable, "-c", COUNTS], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["1", "True"]
