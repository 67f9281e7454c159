//! What the description of the API needs and the attributes of the handlers cannot say.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Components, Content, Object, OpenApi, Ref, RefOr, Response};

/// Answers that any handler may give, whatever it does: status, name of the component, meaning.
const ANYWHERE: [(&str, &str, &str); 2] = [
    ("503", "Stopping", "The service is stopping"),
    ("507", "Exhausted", "No space, quota or descriptors left"),
];

/// A parameter that is one of `words`, the first by default.
pub(crate) fn words(words: &[&str]) -> Object {
    Object::builder()
        .schema_type(Type::String)
        .enum_values(Some(words.iter().copied()))
        .default(words.first().map(|&word| word.into()))
        .build()
}

/// Adds the answers that any handler may give. Ping has no handler that could fail.
pub(crate) fn complete(mut description: OpenApi) -> OpenApi {
    let components = description.components.get_or_insert_with(Components::new);
    for (_, name, meaning) in ANYWHERE {
        let body = Content::new(Some(Ref::from_schema_name("ErrorBody")));
        let response =
            Response::builder().description(meaning).content("application/json", body).build();
        components.responses.insert(name.to_owned(), response.into());
    }
    for (path, item) in &mut description.paths.paths {
        if path.ends_with("_ping") {
            continue;
        }
        for operation in operations(item) {
            for (status, name, _) in ANYWHERE {
                let response = RefOr::Ref(Ref::from_response_name(name));
                operation.responses.responses.entry(status.to_owned()).or_insert(response);
            }
        }
    }
    description
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten()
}
