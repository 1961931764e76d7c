// Connections to hosts: key file, pinned host keys, what is missing.

import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import type { HostConfig } from "../../../../components/cluster/hosts/k3s-config.ts";
import { connectHosts, findHostKey } from "../../../../components/cluster/hosts/ssh.ts";
import { temporaryProject } from "../../../stacks/project.ts";

const host: HostConfig = {
  name: "a",
  address: "10.0.0.1",
  labels: {},
  taints: [],
  kubeletArgs: [],
  accelerators: {},
};
const ssh = { user: "root", port: 22, keyFile: "key", knownHostsFile: "known_hosts" };

test("the key that a server with several keys shows is the one that is pinned", () => {
  const text = [
    "# comment",
    "10.0.0.1 ssh-ed25519 EDKEY",
    "other,10.0.0.1 ecdsa-sha2-nistp256 ECKEY comment",
    "@revoked 10.0.0.2 ssh-ed25519 BAD",
    "[10.0.0.2]:2222 ssh-ed25519 PORTKEY",
  ].join("\n");
  expect(findHostKey(text, "10.0.0.1", 22)).toBe("ecdsa-sha2-nistp256 ECKEY");
  expect(findHostKey(text, "10.0.0.2", 2222)).toBe("ssh-ed25519 PORTKEY");
  expect(findHostKey(text, "10.0.0.2", 22)).toBeUndefined();
  expect(findHostKey(text, "10.0.0.3", 22)).toBeUndefined();
});

test("hashed host names are found", () => {
  const salt = Buffer.from("salt").toString("base64");
  const hash = createHmac("sha1", Buffer.from("salt")).update("10.0.0.1").digest("base64");
  expect(findHostKey(`|1|${salt}|${hash} ssh-ed25519 KEY`, "10.0.0.1", 22)).toBe("ssh-ed25519 KEY");
});

test("a host's own user, port and key win", () => {
  const projectDir = temporaryProject({ key: "PRIVATE", known_hosts: "" });
  const connections = connectHosts(ssh, [{ ...host, user: "admin", port: 2222, hostKey: "ssh-rsa OWN" }], {
    projectDir,
    preview: false,
    warn: () => {},
  });
  expect(connections.jump).toBeUndefined();
  expect(connections.endpoints.get("a")).toEqual({
    host: "10.0.0.1",
    port: 2222,
    user: "admin",
    hostKey: "ssh-rsa OWN",
  });
  expect(connections.hosts.get("a")).toEqual({
    args: {
      host: "10.0.0.1",
      port: 2222,
      user: "admin",
      privateKey: "PRIVATE",
      hostKey: "ssh-rsa OWN",
      dialErrorLimit: 10,
      perDialTimeout: 15,
    },
    user: "admin",
    complete: true,
  });
});

test("everything that is missing is one error that names file and host", () => {
  const projectDir = temporaryProject({ known_hosts: "10.0.0.1 ssh-rsa KEY\n" });
  const hosts = [host, { ...host, name: "b", address: "10.0.0.2" }];
  const connect = (): unknown => connectHosts(ssh, hosts, { projectDir, preview: false, warn: () => {} });
  expect(connect).toThrowErrorMatchingInlineSnapshot(`
    [UserError: SSH is not set up
      - ssh.keyFile key cannot be read; it holds the private key for a (10.0.0.1), b (10.0.0.2)
      - ssh.knownHostsFile known_hosts has no key of b (10.0.0.2, port 22); compare the fingerprint, then add the line of ssh-keyscan]
  `);
});

test("hosts behind a jump host: its key is pinned too, its private key is its own or that of the hosts", () => {
  const projectDir = temporaryProject({
    key: "PRIVATE",
    "jump-key": "JUMP",
    known_hosts: "10.0.0.1 ssh-rsa KEY\n[jump.test]:2200 ssh-rsa JUMPKEY\n",
  });
  const context = { projectDir, preview: false, warn: () => {} };
  const jumpHost = { address: "jump.test", port: 2200, user: "hop", keyFile: "jump-key" };
  const jump = { host: "jump.test", port: 2200, user: "hop", hostKey: "ssh-rsa JUMPKEY" };
  const connections = connectHosts({ ...ssh, jumpHost }, [host], context);
  expect(connections.jump).toEqual(jump);
  expect(connections.hosts.get("a")?.args).toEqual({
    host: "10.0.0.1",
    port: 22,
    user: "root",
    privateKey: "PRIVATE",
    hostKey: "ssh-rsa KEY",
    dialErrorLimit: 10,
    perDialTimeout: 15,
    proxy: { ...jump, privateKey: "JUMP", dialErrorLimit: 10, perDialTimeout: 15 },
  });
  const plain = connectHosts({ ...ssh, jumpHost: { address: "jump.test", port: 2200 } }, [host], context);
  expect(plain.hosts.get("a")?.args.proxy).toMatchObject({ user: "root", privateKey: "PRIVATE" });
});

test("a jump host without key and pin is reported beside the others", () => {
  const projectDir = temporaryProject({ key: "PRIVATE", known_hosts: "10.0.0.1 ssh-rsa KEY\n" });
  const jumpHost = { address: "jump.test", port: 22, keyFile: "jump-key" };
  expect(() =>
    connectHosts({ ...ssh, jumpHost }, [host], { projectDir, preview: false, warn: () => {} }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: SSH is not set up
      - ssh.jumpHost.keyFile jump-key cannot be read; it holds the private key for jump.test
      - ssh.knownHostsFile known_hosts has no key of the jump host (jump.test, port 22); compare the fingerprint, then add the line of ssh-keyscan]
  `);
});
