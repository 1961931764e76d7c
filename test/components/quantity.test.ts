import { expect, test } from "vitest";
import { parseQuantity } from "../../components/quantity.ts";

test.each([
  ["1", 1],
  ["250m", 0.25],
  ["1.5Gi", 1.5 * 2 ** 30],
  ["2e3", 2000],
  ["128974848", 128974848],
  ["129M", 129e6],
  ["0.5", 0.5],
  ["half", Number.NaN],
])("the quantity %s", (quantity, number) => {
  expect(parseQuantity(quantity)).toBe(number);
});
