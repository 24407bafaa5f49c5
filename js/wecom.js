// Sign-in for scripts on pages behind github.com/wecomauth/wecom: an ES module without
// dependencies. The middleware serves it among its own routes, so that
//
//   import { fetch, me, signIn, signOut } from "/wecom/wecom.js";
//
// works as it stands. A copy of it works anywhere else on the site after
// configure({ base: "/wecom/" }).

let base = new URL("./", import.meta.url);
let leaving = false; // the page is on its way to the sign-in

// Inside WeCom the sign-in leads back with this fragment, which is nobody's route.
const leftover = "#wechat_redirect";
if (location.hash === leftover) {
  history.replaceState(history.state, "", location.href.split("#")[0]); // whole: a path may begin with //
}
addEventListener("pageshow", (event) => {
  if (event.persisted) leaving = false; // back by the back button
});

// configure says where the own routes are: the folder of CallbackURL.
export function configure(options) {
  base = new URL(options.base, location.href);
}

// fetch is the browser's fetch, except that it starts a sign-in when the session is over: the page
// leaves, comes back to the same place, fragment included, and the promise never settles. It does so
// once in half a minute; after that, as for every other answer and error, the caller gets what there is.
export async function fetch(input, init) {
  const response = await globalThis.fetch(input, init);
  const login = response.status === 401 ? await loginOf(response) : null;
  if (!login || !(leaving || mayLeave())) return response;
  leave(login, here());
  return new Promise(() => {});
}

// me returns who is signed in, or null.
export async function me() {
  const to = route("session");
  to.search = "optional=1"; // null and not a 401, which would show in red in the console
  return answerOf(await globalThis.fetch(to, { cache: "no-store" }));
}

// signIn leaves for the sign-in and comes back to returnTo, a path on this site; by default to this very place.
export function signIn(returnTo = here()) {
  leave(route("login"), returnTo);
}

// signOut ends the session and opens a page: by default a public one of the middleware's, since a
// protected one would sign the person in again at once. With null the page stays.
export async function signOut(to = route("signed-out").href) {
  const response = await globalThis.fetch(route("session"), { method: "DELETE" });
  if (!response.ok) await answerOf(response);
  if (to !== null) location.assign(to);
}

// attempt begins a sign-in for a login panel of the application's own: what it returns holds the
// state, the addresses of both of WeCom's pages, and as panel the params of ww.createWWLoginPanel.
export async function attempt(returnTo = here()) {
  const minted = await post("attempt", { return_to: returnTo });
  const { login_type, appid, agentid, redirect_uri, state, lang } = minted;
  return { ...minted, panel: { login_type, appid, agentid, redirect_uri, state, lang, redirect_type: "callback", color_scheme: "auto" } };
}

// exchange ends a sign-in with the code that the panel yields, and returns who is signed in now.
export function exchange(code, state) {
  return post("session", { code, state });
}

// jsConfig and jsAgentConfig return signatures for WeCom's JS-SDK, as ww.register wants them for
// getConfigSignature and getAgentConfigSignature. The middleware must have them turned on.
export function jsConfig(url = location.href) {
  return signed(url, "config");
}

export function jsAgentConfig(url = location.href) {
  return signed(url, "agentConfig");
}

async function signed(url, kind) {
  const to = route("jssdk");
  to.search = new URLSearchParams({ url: String(url).split("#")[0], kind }).toString();
  return answerOf(await fetch(to, { cache: "no-store" }));
}

function route(name) {
  return new URL(name, base);
}

// here is this place as the sign-in can lead back to it.
function here() {
  return location.pathname + location.search + (location.hash === leftover ? "" : location.hash);
}

function leave(login, returnTo) {
  leaving = true;
  const to = new URL(login, location.href);
  to.searchParams.set("return_to", returnTo);
  location.assign(to);
}

// loginOf returns the sign-in that an answer asks for: only our own server's counts.
async function loginOf(response) {
  if (new URL(response.url || location.href, location.href).origin !== location.origin) return null;
  const answer = await response.clone().json().catch(() => null);
  if (!answer || answer.error !== "login_required" || typeof answer.login_url !== "string") return null;
  let login;
  try {
    login = new URL(answer.login_url, location.href);
  } catch {
    return null;
  }
  // The origin alone would let blob: in.
  return login.origin === location.origin && login.protocol === location.protocol ? login : null;
}

// mayLeave says whether the last sign-in that started by itself is long enough ago. A browser that keeps
// no cookies would otherwise go round for ever.
function mayLeave() {
  const key = "wecom.left";
  try {
    const last = Number(sessionStorage.getItem(key));
    if (Math.abs(Date.now() - last) < 30000) return false;
    sessionStorage.setItem(key, String(Date.now()));
    return true;
  } catch {
    return false; // no storage, so no cookies either
  }
}

async function post(name, body) {
  return answerOf(await globalThis.fetch(route(name), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }));
}

// answerOf returns the JSON of a good answer, and throws what a bad one says.
async function answerOf(response) {
  if (response.ok) return response.json();
  const said = await response.json().catch(() => ({}));
  const error = new Error(said.message || "HTTP status " + response.status);
  throw Object.assign(error, {
    name: "WeComError", status: response.status, code: said.error || "", reference: said.reference || "", loginUrl: said.login_url || "",
  });
}
