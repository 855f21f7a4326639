"""What all settings that users write have in common."""

import pydantic


class Settings(pydantic.BaseModel):
    """Base of all settings: frozen, a key nobody reads is an error and not a surprise, and so is NaN."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
