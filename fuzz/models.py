#!/usr/bin/env python3
"""Makes the networks that the targets begin with: models/echo.onnx, seeds/models/*.

Protocol buffers by hand (onnx.proto3), so that nothing has to be installed.
"""

import pathlib
import struct

HERE = pathlib.Path(__file__).parent
FLOAT, INT64 = 1, 7


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(tag, value):
    if isinstance(value, int):
        return varint(tag << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value


def fields(tag, values):
    return b"".join(field(tag, value) for value in values)


def attribute(name, value):
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    return field(1, name) + fields(8, value) + field(20, 7)


def node(operator, inputs, output, name="", **attributes):
    made = fields(1, inputs) + field(2, output) + field(3, name) + field(4, operator)
    return made + fields(5, [attribute(*one) for one in attributes.items()])


def value(name, element, *dimensions):
    kinds = [field(1, one) if isinstance(one, int) else field(2, one) for one in dimensions]
    shape = fields(1, kinds)
    return field(1, name) + field(2, field(1, field(1, element) + field(2, shape)))


def tensor(name, *dimensions):
    places = 1
    for length in dimensions:
        places *= length
    raw = struct.pack(f"<{places}f", *[0.5] * places)
    return fields(1, dimensions) + field(2, FLOAT) + field(8, name) + field(9, raw)


INPUTS = [
    value("input", INT64, 1, "n"),
    value("input_lengths", INT64, 1),
    value("scales", FLOAT, 3),
]


def model(nodes, tensors=(), outputs=("output",), version=15):
    graph = fields(1, nodes) + field(2, "voice") + fields(5, tensors) + fields(11, INPUTS)
    graph += fields(12, [value(name, FLOAT, 1, 1, "n") for name in outputs])
    return field(1, 8) + field(7, graph) + field(8, field(2, version))


ECHO = model(
    [node("Cast", ["input"], "output", to=FLOAT), node("Cast", ["input"], "/Ceil_output_0", to=FLOAT)]
)

DECODER = model(
    [
        node("Cast", ["input"], "x", to=FLOAT),
        node("Conv", ["x", "w1"], "a", "/dec/pre/Conv", kernel_shape=[3], pads=[1, 1]),
        node("LeakyRelu", ["a"], "b", "/dec/LeakyRelu"),
        node("ConvTranspose", ["b", "w2"], "c", "/dec/ups/ConvTranspose", strides=[2], kernel_shape=[4]),
        node("LeakyRelu", ["c"], "d", "/dec/LeakyRelu_1"),
        node("Conv", ["d", "w3"], "e", "/dec/res/Conv", dilations=[2], kernel_shape=[3], pads=[2, 2]),
        node("Add", ["e", "c"], "f", "/dec/res/Add"),
        node("Div", ["f", "two"], "g", "/dec/Div"),
        node("Conv", ["g", "w4"], "h", "/dec/post/Conv", group=1),
        node("Tanh", ["h"], "output", "/dec/Tanh"),
        node("Ceil", ["x"], "/Ceil_output_0", "/Ceil"),
    ],
    [
        tensor("w1", 4, 1, 3),
        tensor("w2", 4, 2, 4),
        tensor("w3", 2, 2, 3),
        tensor("w4", 1, 2, 1),
        tensor("two"),
    ],
)

GROUPS = model(
    [
        node("Conv", ["x", "w1"], "a", "/dec/Conv", group=2, strides=[2], output_padding=[1]),
        node("Add", ["a", "a"], "output", "/dec/Add"),
    ],
    [tensor("w1", 4, 1, 3)],
)


def write(name, content):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


write("models/echo.onnx", ECHO)
write("seeds/models/echo", ECHO)
write("seeds/models/decoder", DECODER)
write("seeds/models/groups", GROUPS)
write("seeds/models/old", model([node("Conv", ["x"], "output", "/dec/Conv")], version=9))
