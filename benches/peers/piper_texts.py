"""Speaks one text many times with piper-tts, or with loudness-tts, which has text preparation,
word times and loudness on top of it; in processes of one thread each."""

import json
import multiprocessing
import resource
import sys
import time

import onnxruntime
from piper import PiperVoice
from piper.config import PiperConfig


def load_loudness(model):
    from loudness_tts import TTS

    # The word times need the package `onnx`, which the peers have.
    return TTS(voice=model, language="en-US", threads=1)


def loudness_seconds(engine, text):
    speech = engine.synthesize(text)
    speech.srt()
    return speech.duration


def load(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )
    with open(model + ".json", encoding="utf-8") as file:
        config = PiperConfig.from_dict(json.load(file))
    return PiperVoice(session=session, config=config)


def seconds(voice, text):
    return sum(
        len(chunk.audio_int16_bytes) / 2 / chunk.sample_rate
        for chunk in voice.synthesize(text)
    )


PEERS = {"piper": (load, seconds), "loudness": (load_loudness, loudness_seconds)}


def speak(peer, model, text, count, ready, spoken):
    load, seconds = PEERS[peer]
    voice = load(model)
    seconds(voice, text)
    ready.wait()
    audio = sum(seconds(voice, text) for _ in range(count))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spoken.put((audio, memory))


def main():
    peer, model, processes, texts, text = sys.argv[1:]
    processes, texts = int(processes), int(texts)
    context = multiprocessing.get_context("spawn")
    ready, spoken = context.Barrier(processes + 1), context.Queue()
    arguments = (peer, model, text, texts // processes, ready, spoken)
    workers = [context.Process(target=speak, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    began = time.monotonic()
    results = [spoken.get() for _ in workers]
    took = time.monotonic() - began
    audio = sum(audio for audio, _ in results)
    memory = sum(memory for _, memory in results) / 1000
    print(json.dumps({"audio_s": audio, "took_s": took, "memory_mb": memory}))


if __name__ == "__main__":
    main()
