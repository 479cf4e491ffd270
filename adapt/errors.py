"""Errors that a user, a file or a robot can cause.

Every message names what was wrong, where, and what would have been right. A command prints the
message alone; a traceback means a fault of the program.
"""


class AcclimateError(Exception):
    """Base of every error that is not a fault of the program."""


class BundleError(AcclimateError):
    """A bundle is damaged, incomplete, inconsistent or of another schema; nothing was loaded."""


class ProviderError(AcclimateError):
    """An onnxruntime execution provider was asked for and is not there."""


class ContextError(AcclimateError):
    """An observation, action or transition does not fit the bundle; nothing was changed."""


class BeliefError(AcclimateError):
    """A factor is no Gaussian: not finite, or variance not positive; the belief is as before."""


class PriorError(AcclimateError):
    """A measured prior is damaged, or cannot be expressed in a bundle's latent; the belief is as
    before."""


class LessonError(AcclimateError):
    """An episode, or a step on several, teaches nothing that can be trusted; the belief is as
    before."""


class EpisodeError(AcclimateError):
    """A call came outside the episode it belongs to."""


class SnapshotError(AcclimateError):
    """A snapshot is damaged or belongs to another bundle; nothing was restored."""


class InferenceError(AcclimateError):
    """A graph answered a finite input with a number that is not finite."""


class PrivacyError(AcclimateError):
    """A file or folder that must belong to this user alone is open to others, or not there."""


class SignerError(AcclimateError):
    """A signer's key cannot be read or is badly named."""
