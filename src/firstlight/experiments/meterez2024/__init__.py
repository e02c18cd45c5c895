"""Meterez et al., "Towards Training Without Depth Limits" (ICLR 2024): figures as data, and how they are drawn."""

from firstlight.experiments.meterez2024.figure import CITATION as CITATION
from firstlight.experiments.meterez2024.figure import Figure as Figure
from firstlight.experiments.meterez2024.gradients import figure_1 as figure_1
from firstlight.experiments.meterez2024.gradients import figure_2 as figure_2
from firstlight.experiments.meterez2024.gradients import figure_3 as figure_3
from firstlight.experiments.meterez2024.gradients import gaussian_batch as gaussian_batch
from firstlight.experiments.meterez2024.gradients import gradients_at_start as gradients_at_start
from firstlight.experiments.meterez2024.shaping import figure_5 as figure_5
from firstlight.experiments.meterez2024.shaping import growth_by_gain as growth_by_gain
from firstlight.experiments.meterez2024.training import SETTINGS as SETTINGS
from firstlight.experiments.meterez2024.training import Setting as Setting
from firstlight.experiments.meterez2024.training import figure_4 as figure_4
from firstlight.experiments.meterez2024.training import figure_6 as figure_6
from firstlight.experiments.meterez2024.training import figures_4_and_6 as figures_4_and_6
from firstlight.experiments.meterez2024.training import splits as splits
from firstlight.experiments.meterez2024.training import train_setting as train_setting
