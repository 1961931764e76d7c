"""What guidellm uses of torch: iterating over prompts. The real one comes with several GB of CUDA and sends no request."""

from . import utils as utils


class Tensor:
    """No data here is a tensor."""


class Generator:
    def manual_seed(self, seed: int) -> "Generator":
        return self
