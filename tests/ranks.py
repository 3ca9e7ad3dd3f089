"""Processes that train together, forked from one Python that has imported torch already.

The environment is that of ``torchrun``, without what ``torchrun`` does itself: where one process
ends, nobody ends the others.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forking import ForkingServer

# Reads {"folder", "line", "last", "check", "ranks", "kill", "diverge"} a line, answers a list of
# {"status", "out", "err"} a line, one for each rank. "last" joins the line of the last rank; "kill"
# is the optimiser step, counted from 1, at which that rank kills itself, and "diverge" the one
# after which its weights alone are no numbers; "check" is a function of rank_checks that is called
# in place of the line.
LAUNCHED = r"""
import gc, json, math, os, signal, socket, sys
from dataclasses import replace
from pathlib import Path
import torch
import torch.distributed
import rank_checks
from advlab.cli import main as front_door
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.experiments.contrast import run as contrast
from advlab.experiments.defend import run as defend
from advlab.experiments.train import run as train
import advlab.experiments.list.run
from advlab.training import fit
from painting import paint_blank

paint_blank()
front_door._FIRST_SPEAKS = 0.3
for module in (train, defend, contrast):
    module.draw = lambda *figures: None  # half of what a small run costs
# No backward pass: autograd's threads do not survive a fork.
digits = load_images.load(DataOptions(dataset="digits"))
few = torch.arange(40)
digits = replace(digits, val=digits.val.select(few), test=digits.test.select(few))
load_images.load = lambda options: digits
with torch.no_grad():
    torch.nn.Linear(2, 2)(torch.zeros(1, 2))
os.fsync = os.fstat  # processes are killed, not the machine: nobody waits for the disk
gc.collect()
gc.freeze()  # a collection in a child would copy every page that the imports have filled

def child(case, rank, port):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(case["ranks"]),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }
    os.chdir(case["folder"])
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    steps, learning_rate = [], fit.learning_rate
    def stepping(*args):
        steps.append(args)
        last = rank == case["ranks"] - 1
        if len(steps) == case["kill"] and last:
            os.kill(os.getpid(), signal.SIGKILL)
        return math.nan if len(steps) == case["diverge"] and last else learning_rate(*args)
    fit.learning_rate = stepping
    if case["check"]:
        getattr(rank_checks, case["check"])()
        return 0
    return front_door.main(case["line"] + case["last"] * (rank == case["ranks"] - 1))

for text in sys.stdin:
    case = json.loads(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = []
    for rank in range(case["ranks"]):
        pids.append(os.fork())
        if not pids[-1]:
            status = 99
            try:
                status = child(case, rank, port)
                sys.stdout.flush()
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(status)
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    answer = [
        {
            "status": status,
            "out": Path(case["folder"], f"out{rank}").read_text(),
            "err": Path(case["folder"], f"err{rank}").read_text(),
        }
        for rank, status in enumerate(ended)
    ]
    for rank in range(case["ranks"]):
        Path(case["folder"], f"out{rank}").unlink()
        Path(case["folder"], f"err{rank}").unlink()
    print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (minus a signal's number), stdout and stderr."""

    status: int
    out: str
    err: str


class RankLauncher(ForkingServer):
    """Starts processes that train together."""

    def __init__(self) -> None:
        super().__init__(LAUNCHED)

    def run(
        self,
        folder: Path,
        line: str = "",
        *,
        check: str = "",
        ranks: int = 2,
        kill: int = 0,
        diverge: int = 0,
        last: str = "",
    ) -> Sequence[Ended]:
        """Type ``line`` in ``folder`` in several processes, or call a function of
        ``rank_checks``."""
        case = {
            "folder": str(folder),
            "line": line.split(),
            "check": check,
            "ranks": ranks,
            "kill": kill,
            "diverge": diverge,
            "last": last.split(),
        }
        return [Ended(**values) for values in self.ask(case)]


KILLED = -int(signal.SIGKILL)
