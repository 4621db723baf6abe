"""Chat templates of the model families: a prompt for training and sampling, and the same as Jinja for exports."""

import dataclasses
import json
from dataclasses import dataclass

QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
"""System prompt that Qwen 2.5's template writes if a conversation has none."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """Prompt of one question, without the token that begins a text; `{system}` and `{question}` are its places."""

    with_system: str
    without_system: str
    jinja: str
    """Template for Hugging Face's libraries; `SYSTEM` stands for the quoted system prompt."""
    default_system: str = ""
    """System prompt if the pipeline's is empty."""

    def with_default(self, system: str) -> "ChatTemplate":
        """Return the same template with a system prompt for conversations that have none."""
        return dataclasses.replace(self, default_system=system)

    def prompt(self, question: str, system: str) -> str:
        """Return the prompt; nothing is escaped here."""
        system = system or self.default_system
        template = self.with_system if system else self.without_system
        return template.format(system=system, question=question)

    def as_jinja(self, system: str) -> str:
        """Return the Jinja template, which writes `system` unless a conversation begins with another one."""
        return self.jinja.replace("SYSTEM", json.dumps(system or self.default_system)).strip()


_TAKE_SYSTEM = """{%- set system = SYSTEM -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set system = messages[0]['content'] -%}{%- set messages = messages[1:] -%}
{%- endif -%}
"""

GEMMA = ChatTemplate(
    with_system="<start_of_turn>user\n{system}\n\n{question}<end_of_turn>\n<start_of_turn>model\n",
    without_system="<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n",
    jinja="{{ bos_token }}"
    + _TAKE_SYSTEM
    + """{%- for message in messages -%}
{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}
{%- if loop.first and system -%}{{ system + '\\n\\n' }}{%- endif -%}
{{ message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
""",
)
"""Gemma has no system turn: the system prompt precedes the question in the user's turn, as in Google's template of
Gemma 3."""

CHATML = ChatTemplate(
    with_system="<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
    without_system="<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
    jinja=_TAKE_SYSTEM
    + """{%- if system -%}{{ '<|im_start|>system\\n' + system + '<|im_end|>\\n' }}{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
""",
)
"""ChatML, as in the templates of Qwen 2.5 and Qwen 3 without tools and without their `<think>` blocks."""

_HEADER = "<|start_header_id|>{role}<|end_header_id|>\n\n"
_DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
"""Llama 3.2's template writes these lines in every conversation; its date is this one unless the caller gives another."""
_LLAMA_SYSTEM = _HEADER.format(role="system") + _DATES
_LLAMA_QUESTION = f"<|eot_id|>{_HEADER.format(role='user')}{{question}}<|eot_id|>{_HEADER.format(role='assistant')}"

LLAMA = ChatTemplate(
    with_system=f"{_LLAMA_SYSTEM}{{system}}{_LLAMA_QUESTION}",
    without_system=f"{_LLAMA_SYSTEM}{_LLAMA_QUESTION}",
    jinja="{{ bos_token }}"
    + _TAKE_SYSTEM
    + "{{ '"
    + _LLAMA_SYSTEM.replace("\n", "\\n")
    + """' + system + '<|eot_id|>' }}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}
""",
)
"""Llama 3.2's template without tools."""
