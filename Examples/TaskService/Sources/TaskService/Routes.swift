import Hummingbird

/// What the service answers over HTTP.
enum Routes {
    static func router(_ store: any WorkStore, _ webhook: Webhook) -> Router<BasicRequestContext> {
        let router = Router()
        router.get("health") { _, _ in "ok" }

        router.post("tasks") { request, context in
            let new = try await request.decode(as: NewWorkItem.self, context: context)
            guard !new.title.isEmpty else { throw HTTPError(.badRequest, message: "give it a title") }
            return EditedResponse(status: .created, response: try await store.create(new.title))
        }
        router.post("tasks/:id/done") { _, context in
            guard let item = try await store.finish(context.parameters.require("id")) else {
                throw HTTPError(.notFound)
            }
            return item
        }
        router.get("tasks") { _, _ in try await store.items() }

        // What the consumer made of the events, and what is still to be published.
        router.get("projection") { _, _ in try await store.projection() }
        router.get("outbox") { _, _ in
            let status = try await store.outbox.status()
            return ["waiting": status.backlog, "parked": status.parkedCount]
        }

        // The other system.
        router.post("hook/tasks/:id") { request, context in
            let body = try await request.body.collect(upTo: 65_536)
            return webhook.receive(
                Webhook.Call(
                    path: request.uri.path,
                    body: String(buffer: body),
                    idempotencyKey: request.headers.first { $0.name.canonicalName == "idempotency-key" }?.value ?? ""
                )
            )
        }
        router.get("hook") { _, _ in webhook.calls }
        return router
    }
}
