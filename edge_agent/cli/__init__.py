"""The verbs of `edge-agent`. While an agent runs they ask it; otherwise they take the port exclusively."""

from edge_agent import lean  # noqa: F401  # isort: skip  # before anything that imports a package of others
from edge_agent.cli.judging import backtest, evaluate, feedback, seal
from edge_agent.cli.main import main
from edge_agent.cli.releasing import releases

for verb in (releases, feedback, evaluate, seal, backtest):
    main.add_command(verb)

__all__ = ["main"]
