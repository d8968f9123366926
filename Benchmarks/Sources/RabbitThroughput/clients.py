"""The same work as the library's, with pika and aio-pika: python3 clients.py MODE HOST PORT QUEUE COUNT

Prints how many seconds of time and of the processor it took, connecting included, Python's own start not.
"""

import asyncio
import sys
import time

BODY = bytes(100)
WINDOW = 1_000


def pika_one(host, port, queue, count):
    """One publish after the other, each confirmed."""
    import pika

    connection = pika.BlockingConnection(pika.ConnectionParameters(host, port))
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2)
    for _ in range(count):
        channel.basic_publish("", queue, BODY, properties, mandatory=True)
    connection.close()


def pika_many(host, port, queue, count):
    """A window of unconfirmed publishes: pika's connection with callbacks, since the blocking one waits for each."""
    import pika

    properties = pika.BasicProperties(delivery_mode=2)
    state = {"sent": 0, "low": 1, "confirmed": set()}

    def fill(channel):
        while state["sent"] < count and state["sent"] - (state["low"] - 1) - len(state["confirmed"]) < WINDOW:
            channel.basic_publish("", queue, BODY, properties, mandatory=True)
            state["sent"] += 1

    def confirmed(channel, frame):
        method = frame.method
        if not isinstance(method, pika.spec.Basic.Ack):
            raise RuntimeError(f"the broker said {method}")
        if method.multiple:
            state["confirmed"] = {tag for tag in state["confirmed"] if tag > method.delivery_tag}
            state["low"] = max(state["low"], method.delivery_tag + 1)
        elif method.delivery_tag >= state["low"]:
            state["confirmed"].add(method.delivery_tag)
        if state["low"] - 1 + len(state["confirmed"]) >= count:
            channel.connection.close()
        else:
            fill(channel)

    def opened(channel):
        channel.confirm_delivery(lambda frame: confirmed(channel, frame), lambda _: fill(channel))

    connection = pika.SelectConnection(
        pika.ConnectionParameters(host, port),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
        on_close_callback=lambda connection, _: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    if state["low"] - 1 + len(state["confirmed"]) < count:
        raise RuntimeError("the connection was lost")


def pika_consume(host, port, queue, count):
    """Every 500 acknowledged together."""
    import pika

    connection = pika.BlockingConnection(pika.ConnectionParameters(host, port))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=WINDOW)
    received = 0

    def handle(channel, method, _properties, _body):
        nonlocal received
        received += 1
        if received > count:
            return
        if received % 500 == 0 or received == count:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if received == count:
            channel.stop_consuming()

    channel.basic_consume(queue, handle)
    channel.start_consuming()
    connection.close()


async def aio_publish(host, port, queue, count, tasks):
    import aio_pika

    connection = await aio_pika.connect(host=host, port=port)
    channel = await connection.channel(publisher_confirms=True)
    message = aio_pika.Message(BODY, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)

    async def publish(number):
        for _ in range(number):
            await channel.default_exchange.publish(message, queue, mandatory=True)

    await asyncio.gather(*(publish(count // tasks + (task < count % tasks)) for task in range(tasks)))
    await connection.close()


async def aio_consume(host, port, queue, count):
    """Each acknowledged by itself, which is the only way that aio-pika has for a message."""
    import aio_pika

    connection = await aio_pika.connect(host=host, port=port)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=WINDOW)
    done = asyncio.get_running_loop().create_future()
    received = 0
    acknowledged = 0

    async def handle(message):
        nonlocal received, acknowledged
        received += 1
        if received > count:
            return
        await message.ack()
        # Others are received while this one waits.
        acknowledged += 1
        if acknowledged == count:
            done.set_result(None)

    source = await channel.get_queue(queue, ensure=False)
    await source.consume(handle)
    await done
    await connection.close()


MODES = {
    "pika-one": pika_one,
    "pika-many": pika_many,
    "pika-consume": pika_consume,
    "aio-one": lambda *arguments: asyncio.run(aio_publish(*arguments, 1)),
    "aio-many": lambda *arguments: asyncio.run(aio_publish(*arguments, WINDOW)),
    "aio-consume": lambda *arguments: asyncio.run(aio_consume(*arguments)),
}


def main():
    mode, host, port, queue, count = sys.argv[1:]
    # Not a part of what is measured.
    __import__("aio_pika" if mode.startswith("aio") else "pika")
    began, processor = time.monotonic(), time.process_time()
    MODES[mode](host, int(port), queue, int(count))
    print(time.monotonic() - began, time.process_time() - processor)


main()
