"""What each process does that `test_world` starts through torchrun, with a folder for bundles."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from labs.training import NOW, PLAN, batch_of, examples, lesson_of, ordinary, train_state_of

from model import SINGLE_PROCESS, ProcessGroup, init_process_group, read_manifest, train
from model.networks.backbones import Encoder, build_backbone
from model.training.gradients import accumulate_gradients, all_reduce_gradients

WHOLE = replace(PLAN, frozen=False, epochs=2, batch=7, learning_rate=1e-4, scheme="multi-head")


def furthest_apart(world: ProcessGroup) -> float:
    """Say how far the gradients of all processes together are from those of one alone."""
    torch.manual_seed(0)
    eye = Encoder(build_backbone("tiny")).eval()
    layers = torch.nn.ModuleDict({"subtype": torch.nn.Linear(eye.channels, 2)})
    given = examples(1)  # three: the second process gets one, the first two

    def gradients(of: ProcessGroup) -> tuple[float, list[torch.Tensor]]:
        eye.zero_grad()
        layers.zero_grad()
        state = replace(train_state_of(eye, layers, lesson_of(eye)), processes=of)
        share = replace(batch_of(given[of.rank :: of.size]), total=len(given))
        loss = all_reduce_gradients(state, accumulate_gradients(state, share, 1)[0])
        return loss, [w.grad.clone() for w in (*eye.parameters(), *layers.parameters())]

    alone_loss, alone = gradients(SINGLE_PROCESS)
    loss, joined = gradients(world)
    apart = [float((a - b).abs().max()) for a, b in zip(alone, joined, strict=True)]
    return max(abs(loss - alone_loss), *apart)


def main(folder: Path) -> None:
    with init_process_group("cpu") as world:
        apart = furthest_apart(world)
        steps = list(
            train(
                examples(),
                WHOLE,
                folder,
                fit_detector=ordinary,
                processes=world,
                recipe="1",
                now=NOW,
            )
        )
    told = [step.note for step in steps if step.stage == "shared"]
    bundle = steps[-1].result
    history = read_manifest(bundle).facts["history"] if bundle else None
    fact = {"rank": world.rank, "size": world.size, "apart": apart, "told": told}
    (folder / f"{world.rank}.json").write_text(json.dumps({**fact, "history": history}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
