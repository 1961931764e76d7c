// Contract of the random plug-in: what we rely on in the official 4.21.2, checked on the lab's stand-in by the real engine.
import type { PulumiFn, Stack } from "@pulumi/pulumi/automation/index.js";
import { RandomBytes, RandomId, RandomPassword, RandomString } from "@pulumi/random";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine, type Engine, Events } from "../../support/engine.ts";

let engine: Engine;
let stack: Stack;

beforeAll(async () => {
  engine = await createEngine();
}, 60_000);

afterAll(() => engine?.dispose());

function program(inputs: { keeper: string; prefix: string; special?: boolean }): PulumiFn {
  return async () => {
    const password = new RandomPassword("password", { length: 24, keepers: { run: inputs.keeper } });
    const same = new RandomPassword("same", { length: 16, ...(inputs.special ? { special: true } : {}) });
    const text = new RandomString("text", {
      length: 12,
      lower: false,
      numeric: false,
      minUpper: 2,
      minSpecial: 4,
      overrideSpecial: "_-",
    });
    const id = new RandomId("id", { byteLength: 4, prefix: inputs.prefix });
    const bytes = new RandomBytes("bytes", { length: 32 });
    return {
      password: password.result,
      passwordId: password.id,
      passwordDefaults: {
        lower: password.lower,
        upper: password.upper,
        number: password.number,
        numeric: password.numeric,
        special: password.special,
        minLower: password.minLower,
        minUpper: password.minUpper,
        minNumeric: password.minNumeric,
        minSpecial: password.minSpecial,
      },
      same: same.result,
      text: text.result,
      textId: text.id,
      id: { id: id.id, hex: id.hex, dec: id.dec, b64Url: id.b64Url, b64Std: id.b64Std },
      base64: bytes.base64,
      hex: bytes.hex,
      bytesId: bytes.id,
    };
  };
}

function values(outputs: Awaited<ReturnType<Stack["outputs"]>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(outputs).map(([name, output]) => [name, output.value]));
}

describe("random plug-in", { timeout: 60_000 }, () => {
  test("a preview generates nothing; up generates once, with the official defaults; keepers replace", async () => {
    stack = await engine.inlineStack("random", program({ keeper: "1", prefix: "exp-" }));
    const preview = new Events();
    expect((await stack.preview({ onEvent: preview.onEvent })).changeSummary).toEqual({ create: 6 });

    const created = await stack.up();
    const first = values(created.outputs);
    expect(first.password).toMatch(/^[A-Za-z0-9!@#$%&*()\-_=+[\]{}<>:?]{24}$/);
    expect(first.passwordId).toBe("none");
    expect(first.passwordDefaults).toEqual({
      lower: true,
      upper: true,
      number: true,
      numeric: true,
      special: true,
      minLower: 0,
      minUpper: 0,
      minNumeric: 0,
      minSpecial: 0,
    });
    const text = first.text as string;
    expect(text).toMatch(/^[A-Z_-]{12}$/);
    expect(text.match(/[_-]/g)?.length).toBeGreaterThanOrEqual(4);
    expect(first.textId).toBe(text);
    const id = first.id as Record<string, string>;
    const idBytes = Buffer.from(id.id ?? "", "base64url");
    expect(id).toEqual({
      id: idBytes.toString("base64url"),
      hex: `exp-${idBytes.toString("hex")}`,
      dec: `exp-${idBytes.readUInt32BE()}`,
      b64Url: `exp-${idBytes.toString("base64url")}`,
      b64Std: `exp-${idBytes.toString("base64")}`,
    });
    expect(Buffer.from(first.base64 as string, "base64")).toHaveLength(32);
    expect(first.hex).toBe(Buffer.from(first.base64 as string, "base64").toString("hex"));
    expect(first.bytesId).toBe(first.base64);

    // Secret without being asked for.
    expect(created.outputs.password?.secret).toBe(true);
    expect(created.outputs.hex?.secret).toBe(true);
    expect(created.outputs.text?.secret).toBe(false);
    const state = await engine.stateText("random");
    expect(state.includes(text)).toBe(true);
    expect(state.includes(first.password as string)).toBe(false);
    expect(state.includes(first.hex as string)).toBe(false);

    // An explicit default is no change; a changed keeper and a changed prefix replace only their own resource.
    stack = await engine.inlineStack("random", program({ keeper: "2", prefix: "run-", special: true }));
    const events = new Events();
    const second = values((await stack.up({ onEvent: events.onEvent })).outputs);
    expect(second.password).toMatch(/^.{24}$/);
    expect(second.password).not.toBe(first.password);
    expect((second.id as Record<string, string>).hex).toMatch(/^run-[0-9a-f]{8}$/);
    expect(second).toMatchObject({ same: first.same, text: first.text, base64: first.base64 });
    expect(events.steps("password")).toEqual(["create-replacement", "replace", "delete-replaced"]);
    expect(events.steps("same")).toEqual(["same"]);
  });

  test("impossible inputs are refused before anything is made", async () => {
    const bad = await engine.inlineStack("bad", async () => {
      const classes = { lower: false, upper: false, numeric: false, special: false };
      new RandomPassword("bad", { length: 3, minLower: 2, minNumeric: 2, ...classes });
    });
    const events = new Events();
    await expect(bad.preview({ onEvent: events.onEvent })).rejects.toThrow("failed");
    expect(events.messages("bad", "error")).toMatchInlineSnapshot(`
      [
        "random:index/randomPassword:RandomPassword resource 'bad': property length value {3} has a problem: must be at least 4 (minUpper + minLower + minNumeric + minSpecial), is 3",
        "random:index/randomPassword:RandomPassword resource 'bad': property special value {false} has a problem: one of special, upper, lower and numeric must be true",
      ]
    `);
  });
});
