"""TorchRL's ClipPPOLoss on batches of a TensorDict, with clipped gradients and Adam; the policy's loss alone."""

from tests.benchmarks.comparison import Subject
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION, Arrays
from tests.benchmarks.peers.plain_torch import LARGEST_GRADIENT, LEARNING_RATE


def updates(made: Arrays, batch: int) -> Subject:
    """Without a critic and without an entropy bonus: what is nearest to GIPO's update."""
    import torch
    from tensordict import TensorDict
    from tensordict.nn import NormalParamExtractor, ProbabilisticTensorDictSequential, TensorDictModule
    from torchrl.modules import IndependentNormal, ProbabilisticActor
    from torchrl.objectives import ClipPPOLoss

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(OBSERVATION, HIDDEN[0]), torch.nn.Tanh(), torch.nn.Linear(*HIDDEN), torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN[1], 2 * ACTION), NormalParamExtractor(),
    )  # fmt: skip
    actor: ProbabilisticTensorDictSequential = ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=IndependentNormal,
        return_log_prob=True,
    )
    loss = ClipPPOLoss(actor, None, entropy_bonus=False, critic_coeff=None)
    loss.set_keys(sample_log_prob="log_prob")
    names = ("observation", "action", "log_prob")
    log = TensorDict({name: torch.as_tensor(getattr(made, name)) for name in names}, [len(made)])
    log["advantage"] = torch.as_tensor(made.advantage)[:, None]
    optimizer = torch.optim.Adam(loss.parameters(), lr=LEARNING_RATE, fused=True)

    def update(times: int) -> None:
        for _ in range(times):
            rows = torch.randint(len(made), (batch,))
            optimizer.zero_grad()
            loss(log[rows])["loss_objective"].backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), LARGEST_GRADIENT)
            optimizer.step()

    return Subject(update)
