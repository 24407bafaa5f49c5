/** Who is signed in: see Identity in the Go package. What is not known is absent. */
export interface Identity {
  provider: string;
  corp_id?: string;
  app_id?: string;
  user_id?: string;
  linked_user_id?: string;
  open_id?: string;
  external_user_id?: string;
  union_id?: string;
  name?: string;
  biz_mail?: string;
  email?: string;
  mobile?: string;
  avatar_url?: string;
  departments?: number[];
  authenticated_at: string;
}

/** What every function but fetch throws when the server says no. */
export interface WeComError extends Error {
  name: "WeComError";
  status: number;
  /** The failure's code, such as "attempt_lost"; "" if the answer was not the middleware's. */
  code: string;
  /** Finds the cause in the server's log. */
  reference: string;
  loginUrl: string;
}

/** The params of ww.createWWLoginPanel. */
export interface PanelParams {
  login_type: string;
  appid: string;
  agentid: string;
  redirect_uri: string;
  state: string;
  lang: string;
  redirect_type: "callback";
  color_scheme: "auto";
}

export interface Attempt {
  state: string;
  appid: string;
  agentid: string;
  redirect_uri: string;
  in_app_url: string;
  web_url: string;
  /** Where the sign-in shall end: what was asked for, if it is a path on this site. */
  return_to: string;
  login_type: string;
  lang: string;
  panel: PanelParams;
}

/** What ww.register expects of getConfigSignature and getAgentConfigSignature, and the ids beside it. */
export interface Signature {
  timestamp: number;
  nonceStr: string;
  signature: string;
}

/** Says where the own routes are, if this module is not served from among them: the folder of CallbackURL. */
export function configure(options: { base: string | URL }): void;

/**
 * The browser's fetch, except that it starts a sign-in when the session is over. The page then leaves
 * and comes back to the same place, fragment included, and the promise never settles. If that
 * happened less than half a minute ago, the caller gets the 401.
 */
export function fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

/** Who is signed in, or null. */
export function me(): Promise<Identity | null>;

/** Leaves for the sign-in and comes back to returnTo, a path on this site; by default to this very place. */
export function signIn(returnTo?: string): void;

/** Ends the session and opens a page, by default the middleware's "signed out". With null the page stays. */
export function signOut(to?: string | null): Promise<void>;

/** Begins a sign-in for a login panel of the application's own. */
export function attempt(returnTo?: string): Promise<Attempt>;

/** Ends a sign-in with the code that the panel yields. */
export function exchange(code: string, state: string): Promise<Identity>;

/** A signature for wx.config, of this page by default. Options.JSSDK must be set. */
export function jsConfig(url?: string): Promise<Signature & { appId: string }>;

/** A signature for wx.agentConfig, of this page by default. Options.JSSDK must be set. */
export function jsAgentConfig(url?: string): Promise<Signature & { corpid: string; agentid: string }>;
