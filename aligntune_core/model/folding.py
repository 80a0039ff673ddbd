"""Fold an adapter into the weights that it sits on, where an embedding and the output layer may share theirs."""

from __future__ import annotations

from typing import Any


def fold(model: Any, **arguments: Any) -> Any:
    """``model``, a ``PeftModel``, as a plain model with its adapter folded in; ``model`` itself is used up.

    An adapter on a tied embedding changes what goes in and not what comes out, or both in their own way. Folding one of
    them into weights that both share would change the other too, so the two are separated first; where they turn out
    different, the model's configuration says that they are not tied, so that it is read back as it was trained.

    Args:
        model: changed in place.
        arguments: keyword arguments of peft's ``merge_and_unload``.
    """
    whole = model.get_base_model()
    inner, outer = whole.get_input_embeddings(), whole.get_output_embeddings()
    shared = getattr(_plain(outer), "weight", None)
    # One that carries nothing is left alone.
    if (
        shared is None
        or shared is not _plain(inner).weight
        or (_plain(inner), _plain(outer)) == (inner, outer)
    ):
        return model.merge_and_unload(**arguments)
    _plain(outer).weight = type(shared)(shared.detach().clone(), requires_grad=False)
    folded = model.merge_and_unload(**arguments)
    _settle(folded)
    return folded


def _settle(model: Any) -> None:
    """Tie the two once more if they are alike, and let the configuration say which it is."""
    import torch

    inner, outer = model.get_input_embeddings(), model.get_output_embeddings()
    alike = torch.equal(inner.weight, outer.weight)
    if alike:
        outer.weight = inner.weight
    else:
        # What transformers worked out for the tied model when it was made.
        model.all_tied_weights_keys = {}
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = alike


def _plain(module: Any) -> Any:
    """The module below what peft puts around it."""
    while module is not None:
        below = getattr(module, "base_layer", None) or getattr(module, "original_module", None)
        if below is None:
            return module
        module = below
    return None
