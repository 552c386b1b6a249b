"""Across installations: where the pack lies and what other packs broke; it loads and runs."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfyui.server import ComfyServer
from graphs import Graph
from scene import Scene
from studio import Studio

pytestmark = pytest.mark.server

UNSERVABLE = ["my nodes", "a#b", "100%", "узлы"]
SERVABLE = ["dynamicrafter-nodes", "pack_2.0(1)"]
BROKEN = 'raise ImportError("DLL load failed while importing kornia_rs")\n'


class OddServer(ComfyServer):
    """Loads the odd names beside the pack's own; the list of names ends the arguments."""

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), *UNSERVABLE, *SERVABLE]


@pytest.fixture(scope="module")
def odd(
    comfyui: Path, root: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A server with the pack under several names and a kornia that cannot be imported."""
    base, broken = tmp_path_factory.mktemp("odd"), tmp_path_factory.mktemp("broken")
    for name in ("kornia", "kornia_rs"):
        (broken / f"{name}.py").write_text(BROKEN)
    (base / "custom_nodes").mkdir()
    for name in [*UNSERVABLE, *SERVABLE]:
        (base / "custom_nodes" / name).symlink_to(root, target_is_directory=True)
    support = root / "tests" / "server" / "support_pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(broken), prepend=":")
        arguments = ["--fp32-text-enc"]
        with OddServer(
            comfyui, base, packs=[root, support], extra_args=arguments, cpu=True
        ) as server:
            yield Studio(server, golden)


def status(server: ComfyServer, path: str) -> int:
    try:
        with urllib.request.urlopen(server.url + urllib.parse.quote(path)) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_folder_that_comfyui_cannot_serve_is_named_in_the_log(odd: Studio) -> None:
    for name in [*UNSERVABLE, *SERVABLE]:
        found = status(odd.server, f"/extensions/{name}/docs/DynamiCrafterSampler.md")
        assert found == (404 if name in UNSERVABLE else 200), name
        warnings = odd.server.log.count(f"from a folder called '{name}'")
        assert warnings == (name in UNSERVABLE), name
    assert odd.server.log.count("Rename the folder to dynamicrafter-nodes") == len(UNSERVABLE)


def test_a_broken_kornia_stops_nothing(odd: Studio, graph: Graph) -> None:
    assert "DLL load failed while importing kornia_rs" in odd.server.log
    latents = odd.run(graph, out=Scene(odd, graph).sample(steps=1))["out"]["value.samples"]
    assert latents.isfinite().all()
