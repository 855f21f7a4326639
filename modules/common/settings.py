"""The base class of all settings that users write."""

import pydantic


class Settings(pydantic.BaseModel):
    """Base of all settings. They are frozen; unknown keys, NaN and infinity are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
