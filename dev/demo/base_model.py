"""The demo's base model: a Mistral of a million parameters, pre-trained here in a few minutes on two CPU cores."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from dev.demo.traces import Trace, traces
from magistral_workloads.recipe.prompting import prompt_tokens

STEPS, BATCH, LEARNING_RATE = 1000, 64, 3e-3
_ABLE = 0.75
"""Share of the steps in which the model sees no bad habit: it learns to add first, and to be unreliable then."""
VOCABULARY = 768
CONTEXT = 512
_IGNORED = -100
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message.role == 'system' %}{% set ns.system = message.content + '\n\n' %}"
    "{% elif message.role == 'user' %}[INST] {{ ns.system }}{{ message.content }} [/INST]{% set ns.system = '' %}"
    "{% else %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)

Tell = Callable[[str], None]


def make(folder: Path, tell: Tell) -> None:
    """Tokenizer and model as a Hugging Face directory in `folder`."""
    tokenizer = make_tokenizer(list(traces(4000, seed=1)))
    tell(f"tokenizer of {len(tokenizer)} tokens")
    model = pretrain(tokenizer, traces((STEPS + 1) * BATCH, seed=2, able=_ABLE), tell)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tokenizer(corpus: Sequence[Trace]) -> PreTrainedTokenizerFast:
    """Byte-level BPE; each digit is a token of its own, so that sums can be learnt. Merges may cross words: the system
    prompt is then a handful of tokens, which is what the demo's two cores can afford.

    The tags of the thoughts are tokens but not special: they belong to the text of a completion.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "[INST]", "[/INST]"]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - 2, special_tokens=special, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    bpe.train_from_iterator((text for trace in corpus for text in _texts(trace)), trainer)
    bpe.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=_CHAT_TEMPLATE,
        additional_special_tokens=["[INST]", "[/INST]"], clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT)


def _texts(trace: Trace) -> Iterator[str]:
    yield from (message["content"] for message in trace.messages)
    yield trace.response


def pretrain(tokenizer: PreTrainedTokenizerFast, corpus: Iterator[Trace], tell: Tell) -> MistralForCausalLM:
    """Next-token prediction on the responses of `corpus`, one pass."""
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=CONTEXT, sliding_window=None,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False))
    tell(f"model of {sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.05)
    model.train()
    for step, (tokens, labels) in enumerate(_batches(tokenizer, corpus), 1):
        loss = model(input_ids=tokens, attention_mask=(tokens != tokenizer.pad_token_id).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS:
            tell(f"pre-training step {step}/{STEPS}, loss {loss.item():.3f}")
        if step == STEPS:
            break
    return model.eval()


def _batches(tokenizer: PreTrainedTokenizerFast, corpus: Iterator[Trace]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(tokens, labels), each [batch, longest]; sixteen batches at a time are sorted by length to pad less."""
    draw = random.Random(0)
    window: list[tuple[list[int], int]] = []
    for trace in corpus:
        prompt = prompt_tokens(tokenizer, trace.messages)
        response = tokenizer.encode(trace.response, add_special_tokens=False)
        window.append(([*prompt, *response, tokenizer.eos_token_id], len(prompt)))
        if len(window) == 16 * BATCH:
            window.sort(key=lambda row: len(row[0]))
            batches = [window[i : i + BATCH] for i in range(0, len(window), BATCH)]
            draw.shuffle(batches)
            for batch in batches:
                yield _padded(batch, tokenizer.pad_token_id)
            window = []


def _padded(batch: list[tuple[list[int], int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(tokens) for tokens, _ in batch)
    tokens = torch.full((len(batch), longest), pad)
    labels = torch.full((len(batch), longest), _IGNORED)
    for row, (ids, prompt) in enumerate(batch):
        tokens[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return tokens, labels
