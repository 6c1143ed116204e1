"""Why a language model gave no answer, in one small tree.

    RuntimeError
        ModelFailed             the call has no answer; the sentence says which model, where, what came, what to do
            RateLimited         too many requests, for longer than a call may wait; or nothing left to spend
            ModelUnavailable    no answer in time, or it broke off: the provider may charge for it all the same
                ModelDown       no connection, or a server's error instead of an answer: nothing is charged
            RequestRefused      the server won't take this request: its key, its model's name or what it says
            BadReply            what came back is no chat completion

No sentence holds a key. What a model says wrongly inside a well-formed reply is no failure: it is passed on.
"""

from autogen_core.models import RequestUsage


class ModelFailed(RuntimeError):
    """A call of a language model ended without an answer."""

    may_cost = False
    """Whether the provider may charge for it."""


class RateLimited(ModelFailed):
    """The provider takes no further request for now, or until someone pays."""


class ModelUnavailable(ModelFailed):
    """The model could not be reached, failed, or did not answer in time."""

    may_cost = True


class ModelDown(ModelUnavailable):
    """The model could not be reached, or its server answered with an error of its own."""

    may_cost = False


class RequestRefused(ModelFailed):
    """The provider answered that it won't take the request. Asking again won't help."""


class BadReply(ModelFailed):
    """The answer can't be read as a chat completion. `usage` is what it says it used, None where that can't be read."""

    may_cost = True
    usage: RequestUsage | None = None
