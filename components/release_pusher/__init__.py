"""ReleasePusher: publishes a blessed model as one release folder."""
