"""Code written for version 0.1.0 still finds what it imported, and is told the new place."""

import importlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import firstlight

NAMES = json.loads((Path(__file__).parent / "reference" / "names_of_0_1_0.json").read_text(encoding="utf-8"))
# what 0.1.0 had and nothing replaces: types of annotations, texts of verdicts, and the former shape of files
GONE = {
    "firstlight.activations.moments": "Moments", "firstlight.activations.registry": "is_registered",
    "firstlight.cli.auditing": "STDOUT check_paths encodable", "firstlight.cli.bn": "Finding",
    "firstlight.diagnosis.catalogue":
        "BROCK GRADIENT_WHY LECUN MEASURED POOLE SCHOENHOLZ SIGNAL_WHY WOLINSKI YANG",
    "firstlight.ensemble.local": "Local", "firstlight.ensemble.propagate": "Engine Trace",
    "firstlight.ensemble.runs": "in_order store", "firstlight.gauss.rules": "Rule",
    "firstlight.gauss.shared": "Nodes", "firstlight.pairs.exact": "Array",
    "firstlight.papers.independence": "Comparison",
    # the figures bear the numbers of their paper since
    "firstlight.papers.meterez2024": "figures_5_and_6", "firstlight.probe.ledger": "forget origin_of",
    # rows are read from copies, all of one form together
    "firstlight.probe.reader": "places", "firstlight.probe.statistics": "T keep_rows",
    "firstlight.report.experiments":  # a study draws itself
        "CORRELATIONS DEEP_KS correlation_section correlation_table deep_ks_section",
    "firstlight.report.repair": "Audited", "firstlight.theory.batchnorm.prediction": "predict",
    "firstlight.theory.kernel_layers": "Plan", "firstlight.theory.pair_maps": "Moments",
    "firstlight.ensemble.storage": "decode_shard encode_shard write_atomically",
}  # fmt: skip


@pytest.fixture
def apart():
    """Old modules are forgotten again, and what an import sets on its parent."""
    was = set(sys.modules)
    own = {
        room: dict(vars(module))
        for room, module in list(sys.modules.items())
        if room.startswith("firstlight")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    for name in set(sys.modules) - was:
        if getattr(sys.modules[name].__spec__, "loader", None).__class__.__name__ == "OldModules":
            parent, _, leaf = name.rpartition(".")
            if leaf in own.get(parent, {}):
                setattr(sys.modules[parent], leaf, own[parent][leaf])
            else:
                vars(sys.modules.get(parent, sys)).pop(leaf, None)
            del sys.modules[name]


@pytest.mark.parametrize("module", NAMES)
def test_every_name_of_0_1_0_is_found(apart, module):
    wanted = [name for name in NAMES[module].split() if name not in GONE.get(module, "").split()]
    if wanted:
        held = importlib.import_module(module)
        assert not [name for name in wanted if not hasattr(held, name)]


@pytest.mark.parametrize("name", ["criticality", "finite_width", "unified_view", "posterior"])
def test_an_old_module_leaves_the_function_of_its_name(apart, name):
    own = getattr(firstlight.theory, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if f"firstlight.theory.{name}" in NAMES:
            old = importlib.import_module(f"firstlight.theory.{name}")
            assert getattr(old, name) is own
    assert getattr(firstlight.theory, name) is own


def test_what_is_gone_is_gone():
    """Each exception above is one: the list says nothing of names that are found."""
    for module, names in GONE.items():
        assert set(names.split()) <= set(NAMES[module].split())


def run(code):
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_an_old_import_gives_the_same_objects_and_says_where_they_are():
    out, err = run(
        "import firstlight.builders\n"
        "from firstlight.networks import NormOptions, mlp\n"
        "from firstlight import report\n"
        "import firstlight.papers.meterez2024 as old, firstlight.experiments.meterez2024 as new\n"
        "print(mlp is firstlight.builders.mlp, report.line_chart is firstlight.render.line_chart,"
        " old.train_setting is new.train_setting)"
    )
    assert out.split() == ["True"] * 3
    assert (
        "<string>:2: DeprecationWarning: firstlight.networks is a name of version 0.1.0: import from" in err
    )
    assert "firstlight.builders" in err


@pytest.mark.parametrize(
    "name", ["firstlight.nothing", "firstlight.networks.nothing", "firstlight.render.dense"]
)
def test_what_never_was_is_not_found(apart, name):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_a_name_that_an_old_room_never_had_is_answered_with_the_new_rooms(apart):
    from firstlight import report

    with pytest.raises(AttributeError, match=r"expected a name of firstlight\.render"):
        report.nothing  # noqa: B018


def test_the_forms_of_an_audit_still_take_a_measurement_and_verdicts(apart):
    from firstlight.report.audit_json import audit_from_dict

    from firstlight import report

    result = firstlight.audit(torch.nn.Linear(8, 4), torch.randn(16, 8))
    read = audit_from_dict(report.audit_dict(result.measurement, result.verdicts))
    assert read == (result.measurement, result.verdicts)
    assert report.audit_html(*read) == result.to_html()
    assert report.audit_plain(*read, width=120) == result.to_text(width=120)
