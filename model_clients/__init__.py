"""Where a trader's next message comes from: the rule-based `house` model, and the clients of language models.

Every client is AutoGen's ChatCompletionClient. This package knows no money: it reads conversations and answers them.
"""
