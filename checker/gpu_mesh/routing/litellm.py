"""Writes LiteLLM's configuration for a mesh, for those who run its proxy: every model of every node. Pure.

Keys as in https://docs.litellm.ai/docs/proxy/configs. A text in JSON's quotes is right in YAML, too.
"""

import json
from collections.abc import Iterator, Mapping

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.routing import backends

_SETTINGS = """\
router_settings:
  routing_strategy: least-busy
  num_retries: 2 # each at another node that has the model, where there is one
  allowed_fails: 1
  cooldown_time: 30 # seconds for which a node that failed is left alone
litellm_settings:
  request_timeout: 3600 # seconds; a model may be loaded first
"""


def config(mesh: Mesh, models_of: Mapping[str, tuple[str, ...]], *, elsewhere: bool) -> str:
    """Return the configuration.

    Args:
        mesh: the nodes.
        models_of: the models of each node, by its key.
        elsewhere: whether it is for another host than the monitor: without the nodes behind tunnels.
    """
    nodes, left_out = backends.chosen(mesh, elsewhere=elsewhere)
    lines = [
        "# LiteLLM's proxy in front of the mesh, made by gpu-mesh export litellm.",
        "# It learns of a failure only from requests that fail, and knows of no drain and no score.",
        "# For a model that makes embeddings, write ollama/ in place of ollama_chat/.",
        *(f"# Left out is {each.node}: {each.why}." for each in left_out),
        *(
            f"# Left out is {node.key}: no model of it is known."
            for node in nodes
            if not models_of.get(node.key)
        ),
        *(
            f"# The CA of {node.key} is in {node.ca_file}: name it in SSL_CERT_FILE."
            for node in nodes
            if node.ca_file
        ),
    ]
    entries = [
        line for node in nodes for model in models_of.get(node.key, ()) for line in _entry(node, model)
    ]
    lines += ["model_list:", *entries] if entries else ["model_list: []"]
    return "\n".join((*lines, _SETTINGS))


def _entry(node: Node, model: str) -> Iterator[str]:
    yield f"  - model_name: {json.dumps(model)}"
    yield "    litellm_params:"
    yield f"      model: {json.dumps(f'ollama_chat/{model}')}"
    yield f"      api_base: {json.dumps(node.url)}"
    if node.headers:
        yield f"      extra_headers: {json.dumps(node.headers)}"
    yield "    model_info:"
    yield f"      id: {json.dumps(f'{node.key}/{model}')}"
