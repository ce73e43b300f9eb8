// A certified OpenID provider for tests: its people, clients and port come as JSON in OIDC_TEST.
import { createRequire } from "node:module";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { pathToFileURL } from "node:url";

const entry = createRequire(`${process.env.OIDC_MODULES}/`).resolve("oidc-provider");
const { default: Provider } = await import(pathToFileURL(entry).href);
const { port, people, clients } = JSON.parse(process.env.OIDC_TEST);
const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  jwks: { keys: [{ ...key, use: "sig", alg: "ES256", kid: randomBytes(8).toString("hex") }] },
  clientDefaults: { id_token_signed_response_alg: "ES256", response_types: ["code"] },
  enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
  scopes: ["openid", "email", "profile", "groups"],
  pkce: { methods: ["S256"], required: () => true },
  features: { backchannelLogout: { enabled: true }, devInteractions: { enabled: true } },
  cookies: { keys: [randomBytes(16).toString("hex")] },
  ttl: { Session: 3600, Grant: 3600, Interaction: 600, AccessToken: 600, IdToken: 600 },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
