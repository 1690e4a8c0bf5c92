"""Everything this package raises on purpose.

AvengersProError
├── RecordsError            a records file or table cannot be used as it is
├── EmbeddingError          a text could not become a vector
├── MissingExtraError       an optional dependency is not installed; the message names the extra
├── MethodError             a method cannot be built or fitted as asked
├── PolicyError             what the caller wants is contradictory, out of range or names an unknown model
├── ArtifactError           a saved router cannot be loaded
│   ├── DamagedArtifactError    missing, truncated or altered files
│   ├── ArtifactVersionError    written by another format version
│   ├── UnreachableRouterError  its place did not answer; it may later
│   └── EmbedderMismatchError   vectors from another embedder than the router was fitted with
├── EvaluationError         the records do not allow the comparison asked for
├── SettingsError           a configuration file or table is wrong; names file and key
├── LearningError           the traffic teaches nothing, or not what was asked of it
├── EngineError             the engine that works on the parts of a dataset failed or cannot be reached
└── StoreError              the gateway's database cannot be reached, read or written

Messages say what is wrong, with the value; where; and what to do about it.
"""


class AvengersProError(Exception):
    """Base of all errors that this package raises on purpose."""


class RecordsError(AvengersProError):
    """A records file or table cannot be used as it is."""


class EmbeddingError(AvengersProError):
    """A text could not become a vector."""


class MissingExtraError(AvengersProError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Name the missing package, the extra that brings it, and what it is needed for."""
        super().__init__(f"{purpose} needs {package}: pip install 'avengers-pro[{extra}]'")
        self.extra = extra


class MethodError(AvengersProError):
    """A method cannot be built or fitted as asked."""


class PolicyError(AvengersProError):
    """What the caller wants is contradictory, out of range or names an unknown model."""


class ArtifactError(AvengersProError):
    """A saved router cannot be loaded."""


class DamagedArtifactError(ArtifactError):
    """Files of a saved router are missing, truncated or altered."""


class ArtifactVersionError(ArtifactError):
    """A saved router was written by another format version."""


class UnreachableRouterError(ArtifactError):
    """The place of a saved router did not answer as it should; it may later."""


class EmbedderMismatchError(ArtifactError):
    """Vectors come from another embedder than the router was fitted with."""


class EvaluationError(AvengersProError):
    """The records do not allow the comparison asked for."""


class SettingsError(AvengersProError):
    """A configuration file or table is wrong."""


class LearningError(AvengersProError):
    """The traffic of a gateway teaches nothing, or not what was asked of it."""


class EngineError(AvengersProError):
    """The engine that works on the parts of a dataset failed or cannot be reached."""


class StoreError(AvengersProError):
    """The gateway's database cannot be reached, read or written."""
