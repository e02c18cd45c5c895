"""Named blocks: what each does to a signal and a gradient, and the torch module of it; chains of them."""

from firstlight.builders.blocks.chain import Chain as Chain
from firstlight.builders.blocks.controlled import ControlledResidual as ControlledResidual
from firstlight.builders.blocks.dense import Dense as Dense
from firstlight.builders.blocks.description import Block as Block
from firstlight.builders.blocks.description import Blocks as Blocks
from firstlight.builders.blocks.fractal import Fractal as Fractal
from firstlight.builders.blocks.fractal import FractalJoin as FractalJoin
from firstlight.builders.blocks.gated import Gated as Gated
from firstlight.builders.blocks.gated import KSparse as KSparse
from firstlight.builders.blocks.layer import Layer as Layer
from firstlight.builders.blocks.nf import NFBlock as NFBlock
from firstlight.builders.blocks.nf import ScaledLinear as ScaledLinear
from firstlight.builders.blocks.norms import GDN as GDN
from firstlight.builders.blocks.norms import Divisive as Divisive
from firstlight.builders.blocks.norms import SingleScale as SingleScale
from firstlight.builders.blocks.norms import SingleScaleRMSNorm as SingleScaleRMSNorm
from firstlight.builders.blocks.spelling import WORDS as WORDS
from firstlight.builders.blocks.spelling import read as read
from firstlight.builders.blocks.spelling import spelled as spelled
