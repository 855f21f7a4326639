"""TFX components: each adapts one piece of work in `modules` to artifacts and execution properties."""
