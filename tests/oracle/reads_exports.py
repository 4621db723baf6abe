"""Reads exports with Hugging Face's libraries, in an environment that has them and nothing of relay.

The order is JSON on standard input; the answer goes to the file that is named on the command line, an `.npz`:
logits of the merged model and of the adapter over the base, greedy answers of both, and what the tokenizer makes of texts.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig


def model_of(folder: str) -> torch.nn.Module:
    loaded, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    wrong = {name: sorted(report[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    assert not any(wrong.values()), wrong
    return loaded.eval()


def logits(model: torch.nn.Module, tokens: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].numpy()


def greedy(model: torch.nn.Module, prompts: list[list[int]], folder: str, longest: int) -> list[list[int]]:
    rule = GenerationConfig.from_pretrained(folder)
    rule.max_new_tokens, rule.do_sample = longest, False
    answers = []
    for prompt in prompts:
        asked = torch.tensor([prompt])
        with torch.no_grad():
            answer = model.generate(asked, attention_mask=torch.ones_like(asked), generation_config=rule)
        answers.append([int(token) for token in answer[0, len(prompt) :]])
    return answers


def main() -> None:
    order, into = json.loads(sys.stdin.read()), Path(sys.argv[1])
    folder, longest = order["model"], order["longest"]
    merged = model_of(folder)
    found = {"logits": logits(merged, order["tokens"])}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chats = [[{"role": "user", "content": text}] for text in order["questions"]]
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    said = {"prompts": prompts, "ids": ids, "answers": greedy(merged, ids, folder, longest)}
    if order["adapter"]:
        adapted = PeftModel.from_pretrained(model_of(order["base"]), order["adapter"]).eval()
        found["adapted"] = logits(adapted, order["tokens"])
        said["adapted"] = greedy(adapted, ids, folder, longest)
    np.savez(into, **found)
    into.with_suffix(".json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main()
