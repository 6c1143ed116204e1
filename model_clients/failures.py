"""Why a language model gave no answer, in one small tree.

    RuntimeError
        ModelFailed             the call has no answer; the sentence says which model, where, what came, what to do
            RateLimited         too many requests, for longer than a call may wait; or nothing left to spend
            ModelUnavailable    no connection, a server's error, or no answer in time
            RequestRefused      the server won't take this request: its key, its model's name or what it says
            BadReply            what came back is no chat completion

No sentence holds a key. What a model says wrongly inside a well-formed reply is no failure: it is passed on.
"""


class ModelFailed(RuntimeError):
    """A call of a language model ended without an answer."""


class RateLimited(ModelFailed):
    """The provider takes no further request for now, or until someone pays."""


class ModelUnavailable(ModelFailed):
    """The model could not be reached, failed, or did not answer in time."""


class RequestRefused(ModelFailed):
    """The provider answered that it won't take the request. Asking again won't help."""


class BadReply(ModelFailed):
    """The answer can't be read as a chat completion."""
