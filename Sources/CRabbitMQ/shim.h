// librabbitmq (rabbitmq-c), 0.11 or newer. Its headers moved into a folder of their own with 0.12.

#ifndef DELIVERY_RABBITMQ_SHIM_H
#define DELIVERY_RABBITMQ_SHIM_H

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#endif
