// A provider of OpenID Connect for tests: node-oidc-provider, which is certified, with its own pages to
// sign in, where any name and password do. Arguments: port, address to come back to, and how clients
// show their secrets.
import { Provider } from "oidc-provider";

const [port, back, secrets] = process.argv.slice(2);
const client = { redirect_uris: [back], grant_types: ["authorization_code"], response_types: ["code"] };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    { ...client, client_id: "public", token_endpoint_auth_method: "none" },
    {
      ...client,
      client_id: "confidential",
      client_secret: "a+secret%with/signs",
      token_endpoint_auth_method: secrets,
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username"], email: ["email", "email_verified"] },
  cookies: { keys: ["of the tests"] },
  clientAuthMethods: ["none", secrets],
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      preferred_username: id.replace("sub-of-", ""),
      email: `${id}@example.org`,
      email_verified: true,
    }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
