import { expect, test } from "vitest";
import { nearest } from "../../components/spelling.ts";

test("the nearest name is offered only when it is near", () => {
  expect(nearest("adress", ["address", "port"])).toBe("address");
  expect(nearest("prot", ["address", "port"])).toBe("port");
  expect(nearest("x", ["y"])).toBeUndefined();
  expect(nearest("nonsense", ["address", "port"])).toBeUndefined();
});
