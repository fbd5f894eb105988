//! The words of every refusal, in every language. One catalogue for edge, APIs and dashboard.

use super::{Code, Lang};

/// Words for people.
pub(super) struct Text {
    /// What happened.
    pub(super) message: &'static str,
    /// What to do about it.
    pub(super) how_to_fix: &'static str,
}

/// The words of `code` in `lang`.
pub(super) fn text(code: Code, lang: Lang) -> Text {
    let (en, pt) = words(code);
    let (message, how_to_fix) = match lang {
        Lang::En => en,
        Lang::PtBr => pt,
    };
    Text { message, how_to_fix }
}

type Words = (&'static str, &'static str);

/// English, then Brazilian Portuguese; each: what happened, what to do.
#[allow(clippy::too_many_lines)] // a table: it is looked up, not read through
fn words(code: Code) -> (Words, Words) {
    match code {
        Code::AuthRequired => (
            (
                "Proxy credentials are required",
                "Send user name and password of one of your credentials, or connect from an address on your allow-list.",
            ),
            (
                "Credenciais do proxy são obrigatórias",
                "Envie usuário e senha de uma de suas credenciais, ou conecte de um endereço da sua lista de permissão.",
            ),
        ),
        Code::AuthFailed => (
            (
                "User name or password is wrong",
                "Compare both with your list of credentials; after a rotation use the new password.",
            ),
            (
                "Usuário ou senha incorretos",
                "Confira os dois na sua lista de credenciais; depois de uma rotação use a senha nova.",
            ),
        ),
        Code::IpNotAllowed => (
            (
                "This source address is not on the allow-list",
                "Add the address to your allow-list, or send credentials.",
            ),
            (
                "Este endereço de origem não está na lista de permissão",
                "Adicione o endereço à sua lista de permissão ou envie credenciais.",
            ),
        ),
        Code::Banned => (
            ("The account is banned", "Contact support; trying again does not help."),
            ("A conta está banida", "Fale com o suporte; tentar de novo não adianta."),
        ),
        Code::LockedOut => (
            (
                "The account is locked after too many connections for too long",
                "Wait until the lock ends (Retry-After), then keep your connections within the plan's threads.",
            ),
            (
                "A conta está bloqueada por excesso prolongado de conexões",
                "Aguarde o fim do bloqueio (Retry-After) e mantenha as conexões dentro das threads do plano.",
            ),
        ),
        Code::PlanExpired => (("The plan has expired", "Renew the plan."), ("O plano expirou", "Renove o plano.")),
        Code::QuotaExhausted => (
            ("The traffic quota is used up", "Buy a traffic pack, move to a larger plan, or wait for the next period."),
            (
                "A cota de tráfego acabou",
                "Compre um pacote de tráfego, mude para um plano maior ou aguarde o próximo período.",
            ),
        ),
        Code::ThreadsExceeded => (
            (
                "Too many connections at a time",
                "Close connections you no longer need, reuse open ones, or move to a plan with more threads.",
            ),
            (
                "Conexões simultâneas demais",
                "Feche as conexões que não usa, reutilize as abertas ou mude para um plano com mais threads.",
            ),
        ),
        Code::QpsExceeded => (
            (
                "Too many new connections or requests a second",
                "Slow down, reuse connections, or move to a plan with more requests a second.",
            ),
            (
                "Novas conexões ou requisições demais por segundo",
                "Reduza o ritmo, reutilize conexões ou mude para um plano com mais requisições por segundo.",
            ),
        ),
        Code::IpLimit => (
            (
                "Too many connections or source addresses for this limit",
                "Use fewer connections from this address, or fewer source addresses at a time.",
            ),
            (
                "Conexões ou endereços de origem demais para este limite",
                "Use menos conexões a partir deste endereço, ou menos endereços de origem ao mesmo tempo.",
            ),
        ),
        Code::DestBlocked => (
            (
                "This target is not allowed",
                "Ask for a public host by its name or usual address, on a port other than 25.",
            ),
            (
                "Este destino não é permitido",
                "Peça um host público pelo nome ou endereço usual, em uma porta diferente da 25.",
            ),
        ),
        Code::EdgeDraining => (
            ("This edge is shutting down", "Connect again; another edge will answer."),
            ("Este ponto de acesso está sendo desligado", "Conecte de novo; outro ponto de acesso vai responder."),
        ),
        Code::Loop => (
            ("The request leads back to this proxy", "Ask for a target other than the proxy itself."),
            ("A requisição volta para este mesmo proxy", "Peça um destino que não seja o próprio proxy."),
        ),
        Code::RequestInvalid => (
            (
                "The request is not valid HTTP for a proxy",
                "Send CONNECT host:port, or a request with an absolute http:// URL, with exactly one Host and a plain body.",
            ),
            (
                "A requisição não é HTTP válido para um proxy",
                "Envie CONNECT host:porta, ou uma requisição com URL http:// absoluta, com um só Host e corpo simples.",
            ),
        ),
        Code::HeaderTooLarge => (
            ("The request head is too large", "Send fewer or shorter headers, cookies most of all."),
            (
                "O cabeçalho da requisição é grande demais",
                "Envie cabeçalhos menores ou em menor número, sobretudo cookies.",
            ),
        ),
        Code::MethodNotAllowed => (
            ("This method is not allowed here", "Use one of the methods named in Allow."),
            ("Este método não é permitido aqui", "Use um dos métodos indicados em Allow."),
        ),
        Code::UsernameInvalid => (
            (
                "The user name is malformed",
                "Write name-key-value…, each key once: line or session, country, life, type.",
            ),
            (
                "O nome de usuário é inválido",
                "Escreva nome-chave-valor…, cada chave uma vez: line ou session, country, life, type.",
            ),
        ),
        Code::CountryUnknown => (
            ("This country is not known", "Use an ISO 3166-1 alpha-2 code such as br, gb or us."),
            ("Este país não é conhecido", "Use um código ISO 3166-1 alfa-2, como br, gb ou us."),
        ),
        Code::CountryRequired => (
            (
                "A new line needs a country",
                "Add -country-cc to the user name, or set a default country for the account.",
            ),
            (
                "Uma linha nova precisa de um país",
                "Acrescente -country-cc ao nome de usuário ou defina um país padrão para a conta.",
            ),
        ),
        Code::LineMismatch => (
            (
                "The line is open for another country or type",
                "Use the country and type the line was opened with, another line, or close the line first.",
            ),
            (
                "A linha está aberta para outro país ou tipo",
                "Use o país e o tipo com que a linha foi aberta, outra linha, ou feche a linha antes.",
            ),
        ),
        Code::LinesExceeded => (
            (
                "Too many lines or sessions at a time",
                "Close lines you no longer need, or move to a plan with more lines.",
            ),
            (
                "Linhas ou sessões simultâneas demais",
                "Feche as linhas que não usa ou mude para um plano com mais linhas.",
            ),
        ),
        Code::PlanFeature => (
            ("The plan does not include this", "Move to a plan that includes it."),
            ("O plano não inclui este recurso", "Mude para um plano que o inclua."),
        ),
        Code::AssignInProgress => (
            ("A proxy is being obtained for this line", "Try again after Retry-After; the search goes on meanwhile."),
            (
                "Um proxy está sendo obtido para esta linha",
                "Tente de novo após Retry-After; a busca continua enquanto isso.",
            ),
        ),
        Code::NoProxyAvailable => (
            (
                "No active proxy is available",
                "Try again after Retry-After, ask for another country, or allow fallback countries.",
            ),
            (
                "Nenhum proxy ativo disponível",
                "Tente de novo após Retry-After, peça outro país ou permita países alternativos.",
            ),
        ),
        Code::UpstreamConnect => (
            ("The proxy could not connect", "Try again; if it persists, check the target or ask for a new address."),
            ("Falha na conexão do proxy", "Tente de novo; se persistir, confira o destino ou peça um endereço novo."),
        ),
        Code::UpstreamTimeout => (
            (
                "The proxy did not connect in time",
                "Try again; if it persists, check the target or ask for a new address.",
            ),
            (
                "O proxy não conectou a tempo",
                "Tente de novo; se persistir, confira o destino ou peça um endereço novo.",
            ),
        ),
        Code::UpstreamAuth => (
            (
                "The provider refused our credentials",
                "Nothing is wrong with yours. The operator must check the provider's gateway credentials.",
            ),
            (
                "O provedor recusou as nossas credenciais",
                "As suas estão corretas. O operador deve conferir as credenciais de gateway do provedor.",
            ),
        ),
        Code::Validation => (
            ("The request has a missing or invalid value", "Correct the value named in the detail."),
            ("A requisição tem um valor ausente ou inválido", "Corrija o valor indicado no detalhe."),
        ),
        Code::BodyTooLarge => (
            ("The request body is too large", "Send less at a time, within the limit named in the detail."),
            ("O corpo da requisição é grande demais", "Envie menos por vez, dentro do limite indicado no detalhe."),
        ),
        Code::Unauthenticated => (
            (
                "An API key is required",
                "Send a valid key in Authorization: Bearer, or X-Admin-API-Key for admin routes.",
            ),
            (
                "É necessária uma chave de API",
                "Envie uma chave válida em Authorization: Bearer, ou X-Admin-API-Key nas rotas de administração.",
            ),
        ),
        Code::Forbidden => (
            ("This key may not do that", "Use a key whose scopes include this operation."),
            ("Esta chave não pode fazer isso", "Use uma chave cujos escopos incluam esta operação."),
        ),
        Code::NotFound => (
            ("There is nothing of this name", "Check the path and the identifier."),
            ("Não encontrado", "Confira o caminho e o identificador."),
        ),
        Code::Conflict => (
            (
                "It was changed meanwhile, or exists already",
                "Read it again, then repeat the change if it still applies.",
            ),
            ("Foi alterado nesse meio-tempo ou já existe", "Leia de novo e repita a alteração se ainda for o caso."),
        ),
        Code::EdgeAlive => (
            (
                "The edge still tells that it lives",
                "End its machine and ask again, drain it instead, or send force if you know that it carries nobody.",
            ),
            (
                "O edge ainda dá sinal de vida",
                "Encerre a máquina dele e peça de novo, drene-o, ou envie force se souber que ele não atende ninguém.",
            ),
        ),
        Code::IdempotencyMismatch => (
            (
                "This Idempotency-Key was used with another request",
                "Repeat the first request unchanged, or use a new key.",
            ),
            (
                "Esta Idempotency-Key foi usada com outra requisição",
                "Repita a primeira requisição sem mudanças ou use uma chave nova.",
            ),
        ),
        Code::RateLimited => (
            ("Too many API calls", "Try again after Retry-After."),
            ("Chamadas de API demais", "Tente de novo após Retry-After."),
        ),
        Code::ProxyUsage001 => (
            ("Parameters are missing or invalid", "Correct the parameter named in the detail."),
            ("Parâmetros ausentes ou inválidos", "Corrija o parâmetro indicado no detalhe."),
        ),
        Code::ProxyUsage002 => (
            ("Usage data is unavailable at the moment", "Try again after Retry-After; nothing is lost."),
            ("Os dados de uso estão indisponíveis no momento", "Tente de novo após Retry-After; nada se perde."),
        ),
        Code::ProxyUsage003 => (
            ("Usage data could not be worked out", "Contact support with the correlation id."),
            ("Não foi possível calcular os dados de uso", "Fale com o suporte e informe o id de correlação."),
        ),
        Code::ProviderAuth => (
            ("The provider refused the management key", "Check or rotate the provider's management key."),
            ("O provedor recusou a chave de gestão", "Confira ou troque a chave de gestão do provedor."),
        ),
        Code::ProviderIpNotAllowlisted => (
            (
                "The provider does not know our egress address",
                "Add the egress address named in the detail to the provider's allow-list.",
            ),
            (
                "O provedor não conhece o nosso endereço de saída",
                "Adicione o endereço de saída indicado no detalhe à lista de permissão do provedor.",
            ),
        ),
        Code::ProviderNoStock => (
            ("The provider has none left there", "Try another country or provider, or try again later."),
            ("O provedor não tem estoque ali", "Tente outro país ou provedor, ou tente mais tarde."),
        ),
        Code::ProviderBalance => (
            ("The balance at the provider is too low", "Top up the account at the provider."),
            ("O saldo no provedor é insuficiente", "Recarregue a conta no provedor."),
        ),
        Code::ProviderRateLimited => (
            ("The provider limits our calls", "Try again after Retry-After."),
            ("O provedor está limitando as nossas chamadas", "Tente de novo após Retry-After."),
        ),
        Code::ProviderRefused => (
            ("The provider refused the call", "Check the provider's zone and settings against the detail."),
            ("O provedor recusou a chamada", "Confira a zona e as configurações do provedor com o detalhe."),
        ),
        Code::ProviderUnavailable => (
            (
                "The provider does not answer as it should",
                "Try again after Retry-After; see the provider's status page.",
            ),
            (
                "O provedor não responde como deveria",
                "Tente de novo após Retry-After; veja a página de status do provedor.",
            ),
        ),
        Code::SpendCap => (
            ("A spending cap is reached", "Wait until the cap renews (00:00 UTC), or have it raised."),
            ("Um limite de gasto foi atingido", "Aguarde a renovação do limite (00:00 UTC) ou peça o aumento dele."),
        ),
        Code::PoolCapReached => (
            ("The pool is at its ceiling", "Raise the pool's ceiling or budget, or release what is not used."),
            ("O pool está no teto", "Aumente o teto ou o orçamento do pool, ou libere o que não é usado."),
        ),
        Code::NoNumbersAvailable => (
            ("No number is available", "Try again after Retry-After, or have the pool replenished."),
            ("Nenhum número disponível", "Tente de novo após Retry-After ou peça a reposição do pool."),
        ),
        Code::WebhookConfig => (
            (
                "The webhook is not configured correctly",
                "Check the public address of the application, then configure again.",
            ),
            (
                "O webhook não está configurado corretamente",
                "Confira o endereço público da aplicação e configure de novo.",
            ),
        ),
        Code::StoreUnavailable => (
            ("The service cannot reach its data at the moment", "Try again after Retry-After; nothing was changed."),
            ("O serviço não alcança os seus dados no momento", "Tente de novo após Retry-After; nada foi alterado."),
        ),
        Code::Internal => (
            ("Something went wrong on our side", "Contact support with the correlation id."),
            ("Algo deu errado do nosso lado", "Fale com o suporte e informe o id de correlação."),
        ),
    }
}
