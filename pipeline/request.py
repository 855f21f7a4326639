"""Request for one run, which the command line passes to a runner."""

import pydantic

from pipeline.config import PipelineConfig, Stage


class RunRequest(pydantic.BaseModel):
    """Request for one run.

    Attributes:
        config: The configuration.
        run_id: Id of the run in ML Metadata.
        from_node: First node to run; earlier nodes are reused from the last run. None: run all.
        until: Last stage: `data`, `tokens` or `release`.
    """

    config: PipelineConfig
    run_id: str
    from_node: str | None = None
    until: Stage = "release"
