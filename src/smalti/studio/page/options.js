/** What a model's kind takes besides: controls made of their JSON schemas. */

import { field, h } from "./dom.js";

/**
 * Make controls of options by name.
 * @param {Object<string, object>} schemas as /api/models tells them
 * @returns {{elements: Element[], value: () => object, fill: (values: object) => void}} value: those that were set
 */
export function options(schemas) {
  const made = Object.entries(schemas).map(([name, schema]) => [name, one(schema), schema]);
  const elements = made.map(([name, input, schema]) =>
    field(schema.title || name, input, schema.description),
  );
  const value = () => {
    const set = made.filter(([, input]) => input.value !== "");
    return Object.fromEntries(
      set.map(([name, input]) => [name, input.type === "number" ? Number(input.value) : input.value]),
    );
  };
  const fill = (values) => made.forEach(([name, input]) => (input.value = values[name] ?? ""));
  return { elements, value, fill };
}

function one(schema) {
  const kind = schema.anyOf?.find(({ type }) => type !== "null") || schema;
  const usual = schema.default === null ? "as in training" : `${schema.default}`;
  if (kind.enum)
    return h(
      "select",
      {},
      h("option", { value: "" }, usual),
      ...kind.enum
        .filter((word) => word !== schema.default)
        .map((word) => h("option", { value: word }, word)),
    );
  const { minimum = null, exclusiveMinimum = null, maximum = null } = kind;
  const least =
    minimum ??
    (kind.type === "integer" && exclusiveMinimum !== null ? exclusiveMinimum + 1 : exclusiveMinimum);
  return h("input", {
    type: "number",
    step: kind.type === "integer" ? 1 : "any",
    min: least,
    max: maximum,
    placeholder: usual,
  });
}
