"""The request for one run, as the command line hands it to a runner."""

import pydantic

from pipeline.config import PipelineConfig, Stage


class RunRequest(pydantic.BaseModel):
    """A run that the command line asks for.

    Attributes:
        config: The configuration.
        run_id: Names the run in ML Metadata.
        from_node: Start here and reuse what came before from the last run; None: run all.
        until: Where the pipeline ends: `data`, `tokens` or `release`.
    """

    config: PipelineConfig
    run_id: str
    from_node: str | None = None
    until: Stage = "release"
