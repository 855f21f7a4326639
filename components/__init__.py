"""TFX components; each connects one function of `modules` to artifacts and execution properties."""
