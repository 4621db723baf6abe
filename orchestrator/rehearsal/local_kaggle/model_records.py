"""Records of the local Kaggle's models: variations per framework and their versions."""

from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.rehearsal.local_kaggle.datasets import DatasetVersion
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal

FRAMEWORKS = (
    *("TENSOR_FLOW_1", "TENSOR_FLOW_2", "TF_LITE", "TF_JS", "PY_TORCH", "JAX", "FLAX", "PAX", "MAX_TEXT", "GEMMA_CPP"),
    *("GGML", "GGUF", "CORAL", "SCIKIT_LEARN", "MXNET", "ONNX", "KERAS", "TRANSFORMERS", "API", "OTHER"),
    *("TENSOR_RT_LLM", "TRITON", "VLLM"),
)
"""Members of kagglesdk's ModelFramework, without their common prefix."""


class Declined(Exception):
    """Raised for a change that Kaggle declines with status 200, a sentence in `error` and a number in `errorCode`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True)
class ModelText:
    """Metadata of a model, as its owner gives it, including whether it is private."""

    title: str
    subtitle: str = ""
    description: str = ""
    is_private: bool = True
    publish_time: str = ""
    provenance_sources: str = ""


@dataclass(frozen=True, kw_only=True)
class VariationText:
    """Metadata of a variation, as its owner gives it; `base` is owner/model/framework/variation."""

    overview: str = ""
    usage: str = ""
    license_name: str = ""
    fine_tunable: bool = False
    training_data: tuple[str, ...] = ()
    kind: str = ""
    """Member of kagglesdk's ModelInstanceType; empty if not given."""
    base: str = ""
    external_base_url: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelVersion(DatasetVersion):
    """Immutable set of files. `accepted` is True if this account accepted the licence and may read them."""

    id: int
    accepted: bool = True


@dataclass
class Variation:
    """A named series of versions in one framework, oldest first."""

    id: int
    framework: str
    """Framework of the variation, one of FRAMEWORKS."""
    slug: str
    about: VariationText
    versions: list[ModelVersion] = field(default_factory=list)
    numbered: int = 0
    """Highest version number ever used. Numbers of deleted versions are not reused."""

    def ready(self, now: datetime) -> ModelVersion | None:
        """Return the newest version whose files have been processed; None if there is none."""
        return next((version for version in reversed(self.versions) if version.is_ready(now)), None)

    def version(self, number: int) -> ModelVersion:
        """Return the version with this number. Raises KaggleRefusal."""
        for version in self.versions:
            if version.number == number:
                return version
        raise KaggleRefusal(404, "Model instance version not found")


@dataclass
class KaggleModel:
    """A model with its variations, oldest first."""

    id: int
    owner: str
    slug: str
    about: ModelText
    created: datetime
    updated: datetime
    variations: list[Variation] = field(default_factory=list)

    @property
    def ref(self) -> str:
        """Reference of the model, as owner/slug."""
        return f"{self.owner}/{self.slug}"

    def find(self, framework: str, slug: str) -> Variation | None:
        """Return the variation with this framework, in any spelling, and slug; None if there is none."""
        wanted = (framework_named(framework), slug)
        return next((found for found in self.variations if (found.framework, found.slug) == wanted), None)


def framework_named(text: str) -> str | None:
    """Return the member of FRAMEWORKS for `pyTorch`, `pytorch` or `MODEL_FRAMEWORK_PY_TORCH`; None if there is none."""
    wanted = text.upper().removeprefix("MODEL_FRAMEWORK_").replace("_", "")
    return next((name for name in FRAMEWORKS if name.replace("_", "") == wanted), None)
