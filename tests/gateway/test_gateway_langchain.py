"""LangChain's ChatOpenAI in front of the gateway: nothing but its base_url is changed."""

import asyncio
from contextlib import contextmanager
from importlib.util import find_spec

import openai
import pytest
from live import FIRST, QUESTION, SECOND
from pydantic import BaseModel

from avengers_pro.demo.provider import Fault

pytestmark = pytest.mark.skipif(find_spec("langchain_openai") is None, reason="langchain-openai is not installed")


class Town(BaseModel):
    """A town."""

    name: str
    people: int


def weather(town: str) -> str:
    """Say the weather in a town."""
    return f"rain in {town}"


@contextmanager
def chat_of(live, **options):
    from langchain_openai import ChatOpenAI

    with openai.DefaultHttpxClient() as client:
        given = {"model": "avengers-pro", "api_key": "any", "max_retries": 0, "http_client": client, **options}
        yield ChatOpenAI(base_url=f"{live.url}/v1", **given)


def test_an_answer_says_who_gave_it_and_what_was_used(gateway, provider):
    live = gateway(provider)
    with chat_of(live, include_response_headers=True) as chat:
        answer = chat.invoke(QUESTION)
    row = live.row()
    assert answer.content.startswith(f"[simulated answer of {FIRST}]")
    assert answer.response_metadata["model_name"] == FIRST
    assert answer.response_metadata["headers"]["x-avengers-pro-decision"] == row["id"]
    used = answer.usage_metadata
    assert (used["input_tokens"], used["output_tokens"]) == (row["prompt_tokens"], row["completion_tokens"])


def test_a_stream_has_the_same_words_and_usage_where_it_is_asked_for(gateway, provider):
    live = gateway(provider)
    with chat_of(live) as chat:
        chunks = list(chat.stream(QUESTION))
        assert not [chunk for chunk in chunks if chunk.usage_metadata]
        assert "".join(chunk.content for chunk in chunks) == chat.invoke(QUESTION).content
    with chat_of(live, stream_usage=True) as chat:
        (used,) = [chunk.usage_metadata for chunk in chat.stream(QUESTION) if chunk.usage_metadata]
    assert used["output_tokens"] == live.rows()[-1]["completion_tokens"]


def test_tools_whole_streamed_and_answered(gateway, provider):
    from langchain_core.messages import HumanMessage, ToolMessage

    with chat_of(gateway(provider)) as chat:
        able = chat.bind_tools([weather])
        asked = able.invoke(QUESTION)
        (made,) = asked.tool_calls
        assert made["name"] == "weather"
        first, *rest = able.stream(QUESTION)
        streamed = sum(rest, start=first)
        assert [call["args"] for call in streamed.tool_calls] == [made["args"]]
        result = ToolMessage(weather(**made["args"]), tool_call_id=made["id"])
        assert able.invoke([HumanMessage(QUESTION), asked, result]).content


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(gateway, provider, method):
    with chat_of(gateway(provider)) as chat:
        assert chat.with_structured_output(Town, method=method).invoke(QUESTION) == Town(name="simulated", people=1)


def test_asynchronously_many_at_once(gateway, provider):
    live = gateway(provider)

    async def all_of_it():
        async with openai.DefaultAsyncHttpxClient() as client:
            with chat_of(live, http_async_client=client) as chat:
                streamed = "".join([chunk.content async for chunk in chat.astream(QUESTION)])
                return streamed, await chat.abatch([QUESTION] * 20)

    streamed, answers = asyncio.run(all_of_it())
    assert {answer.content for answer in answers} == {streamed}
    assert len(live.rows()) == 21


def test_a_request_s_policy_goes_in_the_body_or_the_headers(gateway, provider):
    with chat_of(gateway(provider)) as chat:
        for more in (
            {"extra_body": {"avengers_pro": {"alpha": 0.0}}},
            {"extra_headers": {"x-avengers-pro-alpha": "0"}},
        ):
            assert chat.invoke(QUESTION, **more).response_metadata["model_name"] == SECOND


def test_errors_are_the_library_s(gateway, provide):
    live = gateway(provide(faults={"*": [Fault(fault="reset-mid-stream")]}))
    with chat_of(live, model="openai/gpt-55") as chat, pytest.raises(openai.NotFoundError, match="did you mean"):
        chat.invoke(QUESTION)
    with chat_of(live) as chat, pytest.raises(openai.APIError, match="not complete"):
        list(chat.stream(QUESTION))
