"""JSON schemas as Gemini's function declarations take them: a subset of OpenAPI's, in which what is unknown is refused.

References are put in place, `const` becomes an enum, null a flag; what the subset can't say is left out, and the tool
server checks it. Source: ai.google.dev/api/caching#Schema, and `Schema` in the types of the `google-genai` package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPTH_MAX = 12
_PLAIN = (
    "title", "description", "minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength",
    "pattern", "minimum", "maximum", "required",
)  # fmt: skip
_FORMATS = {"string": ("date-time",), "integer": ("int32", "int64"), "number": ("float", "double")}


def parameters_of(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema of a tool's arguments; None for a tool that has none: an object without properties is refused."""
    made = _made(schema, schema, 0)
    return made if made.get("properties") else None


def _made(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        return {"type": "string", "description": "JSON"}
    schema = _in_place(schema, root)
    made = {name: schema[name] for name in _PLAIN if name in schema}
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else list(schema.get("type") or ())
    choices = [each for name in ("anyOf", "oneOf") for each in schema.get(name) or ()]
    choices += [{"type": kind} for kind in kinds if kind != "null"] if len(kinds) > 2 else []
    if "null" in kinds or any(_in_place(each, root).get("type") == "null" for each in choices):
        made["nullable"] = True
    choices = [each for each in choices if _in_place(each, root).get("type") != "null"]
    if len(choices) == 1:
        return {**_made(choices[0], root, depth + 1), **made}
    if choices:
        return made | {"anyOf": [_made(each, root, depth + 1) for each in choices]}
    kind = next((each for each in kinds if each != "null"), None) or ("object" if "properties" in schema else "string")
    made["type"] = kind
    words = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if kind == "string" and words:
        made["enum"] = [str(word) for word in words if word is not None]
    if schema.get("format") in _FORMATS.get(kind, ()):
        made["format"] = schema["format"]
    if kind == "array":
        made["items"] = _made(schema.get("items") or {}, root, depth + 1)
    if kind == "object":
        properties = schema.get("properties") or {}
        made["properties"] = {name: _made(each, root, depth + 1) for name, each in properties.items()}
        if depth and not properties:  # an object of whatever: the subset has no words for it
            return {"type": "string", "description": made.get("description", "a JSON object")}
    return made


def _in_place(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
    """The schema with what it refers to and all that it consists of."""
    if not isinstance(schema, Mapping) or depth > DEPTH_MAX:
        return {}
    whole = dict(schema)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found: Any = root
        for name in reference[2:].split("/"):
            found = found.get(name, {}) if isinstance(found, Mapping) else {}
        whole = {**_in_place(found, root, depth + 1), **whole}
    for part in schema.get("allOf") or ():
        whole = {**_in_place(part, root, depth + 1), **whole}
    return whole
